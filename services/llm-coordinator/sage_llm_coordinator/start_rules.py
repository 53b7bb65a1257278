"""What an order to start an engine may set: options and variables that tune its server, and none that make it run code.

vLLM has options that import Python (``--trust-remote-code``, ``--worker-cls``, plug-ins), read and write any file, or
take another configuration, and every release brings more. So what may be set is listed, and the rest is refused with
the way round: the coordinator's own settings, which only those can change who own the machine. A stolen operator's key
can then start models, but no program of its thief's.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from sage_common.errors import InvalidRequestError, PermissionDeniedError
from sage_common.labels import MAX_MODEL_CHARACTERS
from sage_common.secret_text import is_secret_name

MAX_VALUE_CHARACTERS = 4096
MAX_ITEMS = 256

_OPTIONS = """
--async-scheduling --block-size --convert --cpu-offload-gb --data-parallel-size --disable-custom-all-reduce
--disable-log-requests --disable-log-stats --disable-sliding-window --dtype --enable-auto-tool-choice
--enable-chunked-prefill --enable-expert-parallel --enable-log-requests --enable-lora --enable-prefix-caching
--enable-prompt-tokens-details --enforce-eager --fully-sharded-loras --gpu-memory-utilization --kv-cache-dtype
--kv-cache-memory --kv-cache-memory-bytes --limit-mm-per-prompt --load-format --lora-dtype --lora-modules
--max-cpu-loras --max-logprobs --max-lora-rank --max-loras --max-model-len --max-num-batched-tokens
--max-num-seqs --max-seq-len-to-capture --no-enable-chunked-prefill --no-enable-prefix-caching
--num-gpu-blocks-override --pipeline-parallel-size --quantization --reasoning-parser --revision --runner
--scheduling-policy --seed --served-model-name --swap-space --task --tensor-parallel-size --tokenizer-mode
--tokenizer-revision --tool-call-parser -dp -pp -q -tp
"""
# Of llama.cpp's server, as ``llamacpp_server`` has them; a template is for the settings.
_LLAMACPP_OPTIONS = "--context-tokens --gpu-layers --prompt-cache-mib --temperature --threads --top-p"
ALLOWED_ARGUMENTS = frozenset((*_OPTIONS.split(), *_LLAMACPP_OPTIONS.split()))
# Of options whose other values load pickles, or more code.
ALLOWED_VALUES: Mapping[str, frozenset[str]] = {
    "--load-format": frozenset({"auto", "safetensors", "dummy", "gguf", "bitsandbytes", "mistral"}),
    "--tokenizer-mode": frozenset({"auto", "hf", "slow", "mistral"}),
}
_VARIABLES = """
CUDA_VISIBLE_DEVICES HF_HUB_OFFLINE MKL_NUM_THREADS NCCL_DEBUG NCCL_IB_DISABLE NCCL_P2P_DISABLE
NCCL_SOCKET_IFNAME OMP_NUM_THREADS OPENBLAS_NUM_THREADS PYTORCH_CUDA_ALLOC_CONF TOKENIZERS_PARALLELISM
TORCHINDUCTOR_COMPILE_THREADS TRANSFORMERS_OFFLINE VLLM_ALLOW_LONG_MAX_MODEL_LEN
VLLM_ALLOW_RUNTIME_LORA_UPDATING VLLM_ATTENTION_BACKEND VLLM_CPU_KVCACHE_SPACE VLLM_CPU_NUM_OF_RESERVED_CPU
VLLM_CPU_OMP_THREADS_BIND VLLM_CPU_SGL_KERNEL VLLM_ENABLE_V1_MULTIPROCESSING VLLM_ENGINE_ITERATION_TIMEOUT_S
VLLM_LOGGING_LEVEL VLLM_NO_USAGE_STATS VLLM_USE_FLASHINFER_SAMPLER VLLM_USE_V1 VLLM_WORKER_MULTIPROC_METHOD
"""
ALLOWED_ENVIRONMENT = frozenset(_VARIABLES.split())


class StartRules:
    """Checks what an order gives.

    Args:
        arguments: options that the settings allow beside those listed here.
        environment: variables, likewise.
    """

    def __init__(self, arguments: Collection[str] = (), environment: Collection[str] = ()) -> None:
        self._arguments = ALLOWED_ARGUMENTS | {_option(name) for name in arguments}
        self._environment = ALLOWED_ENVIRONMENT | set(environment)

    def check(self, model: str, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        """Check the model, the options and the variables of an order.

        Raises:
            InvalidRequestError: the model is no name or path, or something is too long.
            PermissionDeniedError: an option or a variable that an order may not set; the message says what to do.
        """
        check_model(model)
        for param, items in (("arguments", arguments), ("environment", environment)):
            if len(items) > MAX_ITEMS:
                raise InvalidRequestError(f"{param!r} holds {len(items)} items, the limit is {MAX_ITEMS}", param=param)
        self._check_arguments(arguments)
        for name, value in environment.items():
            self._check_variable(name, value)

    def _check_arguments(self, arguments: Sequence[str]) -> None:
        option = ""
        for argument in arguments:
            _check_value(argument, "arguments")
            if not argument.startswith("-") or _is_number(argument):
                if not option:
                    raise InvalidRequestError(
                        f"{argument[:80]!r} stands before any option; the model goes in 'model'", param="arguments"
                    )
                value = argument
            else:
                name, equals, value = argument.partition("=")
                option = _option(name)
                if option not in self._arguments:
                    raise _not_allowed(f"the option {name[:80]}", "arguments", "allowed_arguments", name)
                if not equals:
                    continue
            allowed = ALLOWED_VALUES.get(option)
            if allowed is not None and value not in allowed:
                known = ", ".join(sorted(allowed))
                raise PermissionDeniedError(
                    f"{option} {value[:80]!r} is not for an order to set; it may be {known}", param="arguments"
                )

    def _check_variable(self, name: str, value: str) -> None:
        _check_value(value, "environment")
        if name not in self._environment:
            raise _not_allowed(f"the variable {name[:80]}", "environment", "allowed_environment", name)


def check_model(model: str) -> None:
    """Check that a model is a name or a path. Raises InvalidRequestError."""
    fits = len(model) <= MAX_MODEL_CHARACTERS and model.isprintable()
    if not fits or model.startswith("-") or "://" in model:
        raise InvalidRequestError(
            f"{model[:80]!r} is neither a model's name nor a path on the coordinator's machine", param="model"
        )


def _not_allowed(what: str, param: str, setting: str, name: str) -> PermissionDeniedError:
    if is_secret_name(name):
        remedy = "set a secret in the environment of the coordinator, which hands it on to the engines that it starts"
    else:
        remedy = (
            f"list it in SAGE_LLM_COORDINATOR_{setting.upper()} of the coordinator, or configure the engine in "
            "SAGE_LLM_COORDINATOR_ENGINES"
        )
    return PermissionDeniedError(f"{what} is not for an order to set; {remedy}", code="option_not_allowed", param=param)


def _option(name: str) -> str:
    """The option as vLLM reads it, which takes underscores for hyphens."""
    return name.replace("_", "-")


def _is_number(argument: str) -> bool:
    try:
        float(argument)
    except ValueError:
        return False
    return True


def _check_value(value: str, param: str) -> None:
    if len(value) > MAX_VALUE_CHARACTERS or not value.isprintable():
        raise InvalidRequestError(
            f"{param!r} holds a value of {len(value)} characters that is too long or not printable: {value[:40]!r}",
            param=param,
        )

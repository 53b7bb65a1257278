"""What the place where a pipeline runs must have, found out before it runs."""

from __future__ import annotations

from typing import Any

import pytest

from sage_kernel.functions import NO_FUNCTIONS, allow
from sage_kernel.host_access import HostAccess
from sage_kernel.problems import PipelineInvalidError
from sage_kernel.run_target import RunTarget
from sage_kernel.validation import from_dict, problems_of


def pipeline(node: dict[str, Any]) -> dict[str, Any]:
    nodes = {
        "s": {"op": "source", "records": [{"text": "a", "meta": {"author": "b"}}]},
        "n": {"in": "s", **node},
        "o": {"op": "sink", "in": "n", "uri": "collection:x"},
    }
    return {"apiVersion": "sage/v1", "kind": "Pipeline", "metadata": {"name": "p"}, "nodes": nodes}


def said(node: dict[str, Any], target: RunTarget) -> list[str]:
    try:
        spec = from_dict(pipeline(node), target=target)
    except PipelineInvalidError as error:
        found = [str(problem) for problem in error.problems]
        assert [str(problem) for problem in problems_of(from_dict(pipeline(node)), target)] == found
        return found
    assert problems_of(spec, target) == []
    return []


FUNCTION = {"op": "map", "ref": "shop.rules:price", "out": {"price": "float"}}


def test_a_function_has_to_be_allowed_where_that_is_known() -> None:
    assert said(FUNCTION, RunTarget()) == []
    assert said(FUNCTION, RunTarget(functions=allow(["shop.*:*"]))) == []
    (problem,) = said(FUNCTION, RunTarget(functions=NO_FUNCTIONS))
    assert "node 'n', field 'ref': the function 'shop.rules:price' is not allowed (allowed: none); allow it" in problem


def test_a_host_has_to_be_allowed_where_that_is_known() -> None:
    def posted(uri: str, target: RunTarget) -> list[str]:
        value = pipeline({"op": "filter", "where": "true"})
        value["nodes"]["post"] = {"op": "sink", "in": "n", "uri": uri, "id": "{text}"}
        try:
            return [str(problem) for problem in problems_of(from_dict(value), target)]
        except PipelineInvalidError as error:
            return [str(problem) for problem in error.problems]

    inside = "https://inside.example/x"
    assert posted(inside, RunTarget()) == posted(inside, RunTarget(hosts=HostAccess(("inside.example",)))) == []
    (problem,) = posted(inside, RunTarget(hosts=HostAccess((), "allowed_hosts")))
    assert "node 'post', field 'uri': inside.example is not a host that pipelines may use (allowed: none)" in problem
    assert problem.endswith("; add it to allowed_hosts")
    assert "is no URL" in posted("http://a b/", RunTarget())[0]


def test_a_function_of_this_process_does_not_go_to_the_mesh() -> None:
    node = {"op": "filter", "ref": lambda record: True}
    assert said(node, RunTarget("local")) == said(node, RunTarget("ray")) == []
    assert "a worker of the mesh does not have" in said(node, RunTarget("mesh"))[0]


@pytest.mark.parametrize("op", [{"op": "embed"}, {"op": "llm", "prompt": "{text}"}])
def test_a_model_has_to_be_served_where_that_is_known(op: dict[str, Any]) -> None:
    served = RunTarget(models=["minilm", "chat"])
    assert said(op, served) == said({**op, "model": "minilm"}, served) == []
    (problem,) = said({**op, "model": "minilmm"}, served)
    assert "no engine serves the model 'minilmm'; did you mean 'minilm'?" in problem


@pytest.mark.parametrize(
    ("prompt", "what"),
    [
        ("{meta.author}", None),
        ("{meta.auther}", "'meta' has no 'auther'; did you mean 'author'?"),
        ("{text.length}", "'text' is not a record"),
        ("{meta.author.name}", "'author' is not a record"),
        ("{metta.author}", "it reads field 'metta'"),
    ],
)
def test_a_path_of_a_template_leads_somewhere(prompt: str, what: str | None) -> None:
    node = pipeline({"op": "llm", "prompt": prompt})
    if what is None:
        from_dict(node)
        return
    with pytest.raises(PipelineInvalidError) as refusal:
        from_dict(node)
    assert len(refusal.value.problems) == 1
    assert what in str(refusal.value)

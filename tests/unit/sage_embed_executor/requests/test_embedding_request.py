from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from sage_common.errors import InvalidRequestError
from sage_embed_executor.models.model_folder import ModelFolder
from sage_embed_executor.models.tokenizer import TextTokenizer
from sage_embed_executor.requests.embedding_request import EmbeddingRequest, read_embedding_request
from sage_embed_executor.requests.input_limits import MAX_REQUEST_TOKENS


def read(folder: ModelFolder, **body: Any) -> EmbeddingRequest:
    return read_embedding_request(orjson.dumps(body), folder, special_tokens=2, dimensions=384)


@pytest.mark.parametrize(
    ("given", "texts", "token_lists"),
    [
        ("a", ("a",), ()),
        (["a", "b"], ("a", "b"), ()),
        ([1, 2], (), ((1, 2),)),
        ([[1, 2], [3]], (), ((1, 2), (3,))),
    ],
)
def test_each_form_of_input_is_read(folder: ModelFolder, given: Any, texts: Any, token_lists: Any) -> None:
    request = read(folder, input=given)
    assert (request.texts, request.token_lists) == (texts, token_lists)
    assert (request.limits.max_tokens, request.limits.side) == (256, "right")
    assert (request.dimensions, request.normalise, request.base64) == (None, False, False)


@pytest.mark.parametrize(("encoding", "base64"), [(None, False), ("float", False), ("base64", True)])
def test_every_encoding_format_works_null_too(folder: ModelFolder, encoding: str | None, base64: bool) -> None:
    assert read(folder, input="a", encoding_format=encoding).base64 is base64


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        ({"input": [1, 30522]}, "input", r"'input\[1\]' is token id 30522, the model has ids 0 to 30521"),
        ({"input": [[1], [2, 2**64 - 1]]}, "input", r"'input\[1\]\[1\]' is token id 18446744073709551615"),
        ({"input": "a", "dimensions": 385}, "dimensions", "'dimensions' is 385, the model's vectors have 384"),
        ({"input": "a", "truncate_prompt_tokens": 257}, "truncate_prompt_tokens", "an integer from 3 to 256"),
        ({"input": "a", "truncate_prompt_tokens": 2}, "truncate_prompt_tokens", "an integer from 3 to 256"),
        ({"input": "a", "truncate_prompt_tokens": True}, "truncate_prompt_tokens", "got True"),
        ({"input": "a", "truncation_side": "middle"}, "truncation_side", "'left' or 'right'; got 'middle'"),
        ({"input": "a", "prompt_name": "query"}, "prompt_name", "the model has no prompts"),
        ({"input": "a", "prompt": 3}, "prompt", "must be a string; got 3"),
        ({"input": "a", "truncate": "MIDDLE"}, "truncate", "got 'MIDDLE'"),
        ({"input": "a", "truncate": 1.5}, "truncate", "got 1.5"),
        ({"input": "a", "truncate": "START", "truncation_side": "right"}, "truncate", "give one of them"),
        ({"input": "a", "normalize": "yes"}, "normalize", "got 'yes'"),
        ({"input": "a", "normalize": False}, "normalize", "brings every vector to length 1"),
    ],
)
def test_a_value_that_the_model_cannot_serve_is_named(
    folder: ModelFolder, body: dict[str, Any], param: str, message: str
) -> None:
    with pytest.raises(InvalidRequestError, match=message) as caught:
        read(folder, **body)
    assert caught.value.param == param


def test_a_prompt_goes_before_each_text(folder: ModelFolder) -> None:
    prompted = replace(folder, prompts={"query": "query: "})
    assert read(prompted, input=["a", "b"], prompt_name="query").texts == ("query: a", "query: b")
    with pytest.raises(InvalidRequestError, match="did you mean 'query'"):
        read(prompted, input="a", prompt_name="querry")
    with pytest.raises(InvalidRequestError, match="needs text"):
        read(prompted, input=[1], prompt_name="query")


def test_the_default_prompt_counts_where_the_request_says_nothing_of_prompts(folder: ModelFolder) -> None:
    prompted = replace(folder, prompts={"query": "q: ", "passage": "p: "}, default_prompt="q: ")
    assert read(prompted, input=["a", "b"]).texts == ("q: a", "q: b")
    assert read(prompted, input="a", prompt=None, prompt_name=None).texts == ("q: a",)
    assert read(prompted, input="a", prompt_name="passage").texts == ("p: a",)
    assert read(prompted, input="a", prompt="").texts == ("a",)
    assert read(prompted, input=[1, 2]).token_lists == ((1, 2),)


def test_a_prompt_that_the_pooling_would_leave_out_is_refused(folder: ModelFolder) -> None:
    instructor = replace(folder, pooling={**folder.pooling, "include_prompt": False}, default_prompt="q: ")
    for body in ({"input": "a"}, {"input": "a", "prompt": "mine: "}):
        with pytest.raises(InvalidRequestError, match="leaves out the tokens of a prompt") as caught:
            read(instructor, **body)
        assert (caught.value.code, caught.value.param) == ("prompt_not_supported", "prompt")
    assert read(instructor, input="a", prompt="").texts == ("a",)


def test_inputs_are_cut_where_the_caller_says(folder: ModelFolder, tokenizer: TextTokenizer) -> None:
    request = read(folder, input=["one two three four", "one"], truncate_prompt_tokens=4)
    assert [len(ids) for ids in request.tokenise(tokenizer).inputs] == [4, 3]
    request = read(folder, input="word " * 999, truncate_prompt_tokens=-1)
    assert [len(ids) for ids in request.tokenise(tokenizer).inputs] == [256]


def test_text_and_its_ids_give_the_same_tokens(folder: ModelFolder, tokenizer: TextTokenizer) -> None:
    as_text = read(folder, input="hello world").tokenise(tokenizer).inputs
    as_ids = read(folder, input=[7592, 2088]).tokenise(tokenizer).inputs
    assert as_text[0].tolist() == as_ids[0].tolist()


def test_too_many_tokens_in_one_request_are_refused(folder: ModelFolder, tokenizer: TextTokenizer) -> None:
    inputs = [[5] * 256] * (MAX_REQUEST_TOKENS // 256)
    assert len(read(folder, input=inputs).tokenise(tokenizer).inputs) == len(inputs)
    with pytest.raises(InvalidRequestError, match="the limit is 300000; send several requests") as caught:
        read(folder, input=[*inputs, [5] * 256]).tokenise(tokenizer)
    assert (caught.value.code, caught.value.param) == ("too_many_tokens", "input")


@pytest.mark.parametrize("truncate", [False, "NONE", "none"])
def test_an_input_that_may_not_be_cut_is_refused_with_its_length_and_the_limit(
    folder: ModelFolder, tokenizer: TextTokenizer, truncate: object
) -> None:
    request = read(folder, input=["short", "word " * 300], truncate=truncate)
    with pytest.raises(InvalidRequestError, match=r"'input\[1\]' has 302 tokens, the limit is 256") as caught:
        request.tokenise(tokenizer)
    assert (caught.value.code, caught.value.param) == ("input_too_long", "input")
    assert read(folder, input="word " * 254, truncate=truncate).tokenise(tokenizer).truncated == 0


@pytest.mark.parametrize(
    ("truncate", "kept"),
    [({}, "word"), ({"truncate": True}, "word"), ({"truncate": "START"}, "end"), ({"truncate": "END"}, "word")],
)
def test_a_cut_input_is_counted_and_keeps_the_side_that_was_asked_for(
    folder: ModelFolder, tokenizer: TextTokenizer, truncate: dict[str, object], kept: str
) -> None:
    request = read(folder, input=["word " * 300 + "end", "one"], truncate_prompt_tokens=3, **truncate)
    tokenised = request.tokenise(tokenizer)
    assert tokenised.truncated == 1
    assert tokenised.inputs[0].tolist() == tokenizer.encode([kept], 256)[0].tolist()


def test_a_prompt_of_the_callers_own_goes_before_each_text(folder: ModelFolder) -> None:
    assert read(folder, input=["a", "b"], prompt="find: ").texts == ("find: a", "find: b")
    with pytest.raises(InvalidRequestError, match="give one of them"):
        read(replace(folder, prompts={"query": "q"}), input="a", prompt="b", prompt_name="query")


def test_vectors_are_brought_to_length_one_where_that_is_asked_for_or_they_are_cut(folder: ModelFolder) -> None:
    plain = replace(folder, modules=("Transformer", "Pooling"))
    assert not read(plain, input="a").normalise
    assert read(plain, input="a", normalize=True).normalise
    assert read(plain, input="a", dimensions=8).normalise
    assert not read(plain, input="a", dimensions=8, normalize=False).normalise

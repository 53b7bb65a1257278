from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class KnowledgeBase(_message.Message):
    __slots__ = ("name", "documents", "passages", "embedding_model", "chunk_tokens", "bytes", "approximate", "recall", "index_note")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    PASSAGES_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_MODEL_FIELD_NUMBER: _ClassVar[int]
    CHUNK_TOKENS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    APPROXIMATE_FIELD_NUMBER: _ClassVar[int]
    RECALL_FIELD_NUMBER: _ClassVar[int]
    INDEX_NOTE_FIELD_NUMBER: _ClassVar[int]
    name: str
    documents: int
    passages: int
    embedding_model: str
    chunk_tokens: int
    bytes: int
    approximate: bool
    recall: float
    index_note: str
    def __init__(self, name: _Optional[str] = ..., documents: _Optional[int] = ..., passages: _Optional[int] = ..., embedding_model: _Optional[str] = ..., chunk_tokens: _Optional[int] = ..., bytes: _Optional[int] = ..., approximate: _Optional[bool] = ..., recall: _Optional[float] = ..., index_note: _Optional[str] = ...) -> None: ...

class KnowledgeDocument(_message.Message):
    __slots__ = ("id", "path", "folder", "title", "bytes", "sha256", "passages", "metadata_json")
    ID_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    FOLDER_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    PASSAGES_FIELD_NUMBER: _ClassVar[int]
    METADATA_JSON_FIELD_NUMBER: _ClassVar[int]
    id: int
    path: str
    folder: str
    title: str
    bytes: int
    sha256: str
    passages: int
    metadata_json: str
    def __init__(self, id: _Optional[int] = ..., path: _Optional[str] = ..., folder: _Optional[str] = ..., title: _Optional[str] = ..., bytes: _Optional[int] = ..., sha256: _Optional[str] = ..., passages: _Optional[int] = ..., metadata_json: _Optional[str] = ...) -> None: ...

class ListKnowledgeBasesRequest(_message.Message):
    __slots__ = ("tenant",)
    TENANT_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    def __init__(self, tenant: _Optional[str] = ...) -> None: ...

class ListKnowledgeBasesResponse(_message.Message):
    __slots__ = ("knowledge_bases",)
    KNOWLEDGE_BASES_FIELD_NUMBER: _ClassVar[int]
    knowledge_bases: _containers.RepeatedCompositeFieldContainer[KnowledgeBase]
    def __init__(self, knowledge_bases: _Optional[_Iterable[_Union[KnowledgeBase, _Mapping]]] = ...) -> None: ...

class CreateKnowledgeBaseRequest(_message.Message):
    __slots__ = ("tenant", "name", "embedding_model", "chunk_tokens")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_MODEL_FIELD_NUMBER: _ClassVar[int]
    CHUNK_TOKENS_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    name: str
    embedding_model: str
    chunk_tokens: int
    def __init__(self, tenant: _Optional[str] = ..., name: _Optional[str] = ..., embedding_model: _Optional[str] = ..., chunk_tokens: _Optional[int] = ...) -> None: ...

class CreateKnowledgeBaseResponse(_message.Message):
    __slots__ = ("knowledge_base",)
    KNOWLEDGE_BASE_FIELD_NUMBER: _ClassVar[int]
    knowledge_base: KnowledgeBase
    def __init__(self, knowledge_base: _Optional[_Union[KnowledgeBase, _Mapping]] = ...) -> None: ...

class GetKnowledgeBaseRequest(_message.Message):
    __slots__ = ("tenant", "name")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    name: str
    def __init__(self, tenant: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class GetKnowledgeBaseResponse(_message.Message):
    __slots__ = ("knowledge_base",)
    KNOWLEDGE_BASE_FIELD_NUMBER: _ClassVar[int]
    knowledge_base: KnowledgeBase
    def __init__(self, knowledge_base: _Optional[_Union[KnowledgeBase, _Mapping]] = ...) -> None: ...

class DropKnowledgeBaseRequest(_message.Message):
    __slots__ = ("tenant", "name")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    name: str
    def __init__(self, tenant: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class DropKnowledgeBaseResponse(_message.Message):
    __slots__ = ("knowledge_base",)
    KNOWLEDGE_BASE_FIELD_NUMBER: _ClassVar[int]
    knowledge_base: KnowledgeBase
    def __init__(self, knowledge_base: _Optional[_Union[KnowledgeBase, _Mapping]] = ...) -> None: ...

class ListDocumentsRequest(_message.Message):
    __slots__ = ("tenant", "name", "limit", "after")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    name: str
    limit: int
    after: int
    def __init__(self, tenant: _Optional[str] = ..., name: _Optional[str] = ..., limit: _Optional[int] = ..., after: _Optional[int] = ...) -> None: ...

class ListDocumentsResponse(_message.Message):
    __slots__ = ("documents", "total")
    DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    documents: _containers.RepeatedCompositeFieldContainer[KnowledgeDocument]
    total: int
    def __init__(self, documents: _Optional[_Iterable[_Union[KnowledgeDocument, _Mapping]]] = ..., total: _Optional[int] = ...) -> None: ...

class StoreDocumentRequest(_message.Message):
    __slots__ = ("tenant", "name", "path", "data", "metadata")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    TENANT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    name: str
    path: str
    data: bytes
    metadata: _containers.ScalarMap[str, str]
    def __init__(self, tenant: _Optional[str] = ..., name: _Optional[str] = ..., path: _Optional[str] = ..., data: _Optional[bytes] = ..., metadata: _Optional[_Mapping[str, str]] = ...) -> None: ...

class StoreDocumentResponse(_message.Message):
    __slots__ = ("stored", "passages", "embedded")
    STORED_FIELD_NUMBER: _ClassVar[int]
    PASSAGES_FIELD_NUMBER: _ClassVar[int]
    EMBEDDED_FIELD_NUMBER: _ClassVar[int]
    stored: bool
    passages: int
    embedded: int
    def __init__(self, stored: _Optional[bool] = ..., passages: _Optional[int] = ..., embedded: _Optional[int] = ...) -> None: ...

class RemoveDocumentRequest(_message.Message):
    __slots__ = ("tenant", "name", "path")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    name: str
    path: str
    def __init__(self, tenant: _Optional[str] = ..., name: _Optional[str] = ..., path: _Optional[str] = ...) -> None: ...

class RemoveDocumentResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class IngestFolderRequest(_message.Message):
    __slots__ = ("tenant", "name", "folder", "metadata")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    TENANT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    FOLDER_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    name: str
    folder: str
    metadata: _containers.ScalarMap[str, str]
    def __init__(self, tenant: _Optional[str] = ..., name: _Optional[str] = ..., folder: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ...) -> None: ...

class LeftOut(_message.Message):
    __slots__ = ("path", "reason")
    PATH_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    path: str
    reason: str
    def __init__(self, path: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class IngestFolderResponse(_message.Message):
    __slots__ = ("files", "unchanged", "stored", "moved", "removed", "passages", "embedded", "left_out", "left_out_total", "ignored", "seconds", "done")
    FILES_FIELD_NUMBER: _ClassVar[int]
    UNCHANGED_FIELD_NUMBER: _ClassVar[int]
    STORED_FIELD_NUMBER: _ClassVar[int]
    MOVED_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    PASSAGES_FIELD_NUMBER: _ClassVar[int]
    EMBEDDED_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_TOTAL_FIELD_NUMBER: _ClassVar[int]
    IGNORED_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    files: int
    unchanged: int
    stored: int
    moved: int
    removed: int
    passages: int
    embedded: int
    left_out: _containers.RepeatedCompositeFieldContainer[LeftOut]
    left_out_total: int
    ignored: int
    seconds: float
    done: bool
    def __init__(self, files: _Optional[int] = ..., unchanged: _Optional[int] = ..., stored: _Optional[int] = ..., moved: _Optional[int] = ..., removed: _Optional[int] = ..., passages: _Optional[int] = ..., embedded: _Optional[int] = ..., left_out: _Optional[_Iterable[_Union[LeftOut, _Mapping]]] = ..., left_out_total: _Optional[int] = ..., ignored: _Optional[int] = ..., seconds: _Optional[float] = ..., done: _Optional[bool] = ...) -> None: ...

class SearchKnowledgeRequest(_message.Message):
    __slots__ = ("tenant", "name", "question", "k", "mode", "filters", "rerank")
    class FiltersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    TENANT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    FILTERS_FIELD_NUMBER: _ClassVar[int]
    RERANK_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    name: str
    question: str
    k: int
    mode: str
    filters: _containers.ScalarMap[str, str]
    rerank: bool
    def __init__(self, tenant: _Optional[str] = ..., name: _Optional[str] = ..., question: _Optional[str] = ..., k: _Optional[int] = ..., mode: _Optional[str] = ..., filters: _Optional[_Mapping[str, str]] = ..., rerank: _Optional[bool] = ...) -> None: ...

class FoundPassage(_message.Message):
    __slots__ = ("path", "folder", "title", "heading", "text", "kind", "place", "line", "end_line", "page", "score", "word_score", "vector_rank", "word_rank", "fused", "metadata_json", "approximate", "recall")
    PATH_FIELD_NUMBER: _ClassVar[int]
    FOLDER_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    HEADING_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    PLACE_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    END_LINE_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    WORD_SCORE_FIELD_NUMBER: _ClassVar[int]
    VECTOR_RANK_FIELD_NUMBER: _ClassVar[int]
    WORD_RANK_FIELD_NUMBER: _ClassVar[int]
    FUSED_FIELD_NUMBER: _ClassVar[int]
    METADATA_JSON_FIELD_NUMBER: _ClassVar[int]
    APPROXIMATE_FIELD_NUMBER: _ClassVar[int]
    RECALL_FIELD_NUMBER: _ClassVar[int]
    path: str
    folder: str
    title: str
    heading: str
    text: str
    kind: str
    place: str
    line: int
    end_line: int
    page: int
    score: float
    word_score: float
    vector_rank: int
    word_rank: int
    fused: float
    metadata_json: str
    approximate: bool
    recall: float
    def __init__(self, path: _Optional[str] = ..., folder: _Optional[str] = ..., title: _Optional[str] = ..., heading: _Optional[str] = ..., text: _Optional[str] = ..., kind: _Optional[str] = ..., place: _Optional[str] = ..., line: _Optional[int] = ..., end_line: _Optional[int] = ..., page: _Optional[int] = ..., score: _Optional[float] = ..., word_score: _Optional[float] = ..., vector_rank: _Optional[int] = ..., word_rank: _Optional[int] = ..., fused: _Optional[float] = ..., metadata_json: _Optional[str] = ..., approximate: _Optional[bool] = ..., recall: _Optional[float] = ...) -> None: ...

class SearchKnowledgeResponse(_message.Message):
    __slots__ = ("passages",)
    PASSAGES_FIELD_NUMBER: _ClassVar[int]
    passages: _containers.RepeatedCompositeFieldContainer[FoundPassage]
    def __init__(self, passages: _Optional[_Iterable[_Union[FoundPassage, _Mapping]]] = ...) -> None: ...

class ExportKnowledgeBaseRequest(_message.Message):
    __slots__ = ("tenant", "name", "vectors")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    name: str
    vectors: bool
    def __init__(self, tenant: _Optional[str] = ..., name: _Optional[str] = ..., vectors: _Optional[bool] = ...) -> None: ...

class ExportKnowledgeBaseResponse(_message.Message):
    __slots__ = ("lines",)
    LINES_FIELD_NUMBER: _ClassVar[int]
    lines: bytes
    def __init__(self, lines: _Optional[bytes] = ...) -> None: ...

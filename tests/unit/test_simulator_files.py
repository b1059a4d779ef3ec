"""The stand-in's Files API, and files as requests name them, over HTTP."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from support.api import SimulatedApi, simulated_api
from support.media import picture

HEADERS = {"anthropic-version": "2026-10-21", "x-api-key": "key-a"}
PDF = b"%PDF-1.4\n" + b"1 0 obj << /Type /Page >> endobj\n" * 3
LONG_PDF = b"%PDF-1.4" + b"x" * 65_520 + b"/Type /Page" + b"y" * 65_520 + b"/Type/Page"
"""Pages begin where one chunk ends and the next begins."""
PIXEL = picture(1, 1)
DAY_S = 24 * 3_600


@pytest.fixture(scope="module")
def api_options() -> dict[str, str]:
    return {"key": "*", "batch_latency": "0ms"}


def call(
    api: SimulatedApi, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, dict[str, Any]]:
    named = HEADERS | {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(api.base_url + path, body, named, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, json.loads(refusal.read())


def part(name: str, value: bytes, extra: str = "") -> bytes:
    return f'--xyz\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n'.encode() + value + b"\r\n"


def form(data: bytes, kind: str = "application/pdf", filename: str = "a.pdf", expires: int | None = None) -> bytes:
    head = (
        f'--xyz\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\nContent-Type: {kind}\r\n\r\n'
    )
    further = b"" if expires is None else part("expires_in_seconds", b"%d" % expires)
    return further + head.encode() + data + b"\r\n--xyz--\r\n"


def post(api: SimulatedApi, body: bytes, **headers: str) -> tuple[int, dict[str, Any]]:
    return call(api, "POST", "/v1/files", body, **({"content_type": "multipart/form-data; boundary=xyz"} | headers))


def kept(api: SimulatedApi, data: bytes = PDF, kind: str = "application/pdf", **options: Any) -> str:
    status, file = post(api, form(data, kind, **options))
    assert status == 200, file
    return str(file["id"])


def asking(source: dict[str, Any], kind: str = "document") -> bytes:
    blocks = [{"type": kind, "source": source}, {"type": "text", "text": "What is it?"}]
    body = {"model": "claude-haiku-5-5", "max_tokens": 50, "messages": [{"role": "user", "content": blocks}]}
    return json.dumps(body).encode()


def ask(
    api: SimulatedApi, source: dict[str, Any], kind: str = "document", **headers: str
) -> tuple[int, dict[str, Any]]:
    return call(api, "POST", "/v1/messages", asking(source, kind), content_type="application/json", **headers)


def inline(data: bytes, media_type: str) -> dict[str, Any]:
    return {"type": "base64", "media_type": media_type, "data": base64.b64encode(data).decode()}


def test_a_file_is_described_as_the_api_does(api: SimulatedApi) -> None:
    status, file = post(api, form(PDF, expires=3_600))
    assert status == 200
    assert file.keys() == {
        "id", "type", "filename", "mime_type", "size_bytes", "created_at", "expires_at", "downloadable",
    }  # fmt: skip
    assert (file["type"], file["filename"], file["mime_type"]) == ("file", "a.pdf", "application/pdf")
    assert (file["size_bytes"], file["downloadable"]) == (len(PDF), False)
    assert call(api, "GET", f"/v1/files/{file['id']}") == (200, file)


def test_every_upload_is_in_the_books(api: SimulatedApi) -> None:
    kept(api)
    kept(api)
    uploads = api.uploads()
    assert [upload["size_bytes"] for upload in uploads] == [len(PDF)] * 2
    assert uploads[0]["sha256"] == uploads[1]["sha256"]
    assert uploads[0]["id"] != uploads[1]["id"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (part("expires_in_seconds", b"3600") + b"--xyz--\r\n", "file: Field required"),
        (form(PDF, expires=3_599), "expires_in_seconds: Input should be between 3600 and 7776000"),
        (form(PDF, expires=7_776_001), "expires_in_seconds"),
        (part("purpose", b"batch") + form(PDF), "purpose: Extra inputs are not permitted"),
        (b"no form", "multipart"),
    ],
)
def test_a_form_that_is_wrong_is_refused_and_not_kept(api: SimulatedApi, body: bytes, words: str) -> None:
    status, answer = post(api, body)
    assert (status, answer["error"]["type"]) == (400, "invalid_request_error")
    assert words in answer["error"]["message"]
    assert api.uploads() == []


def test_a_body_that_is_no_form_is_refused(api: SimulatedApi) -> None:
    status, answer = post(api, b"{}", content_type="application/json")
    assert status == 400
    assert "multipart/form-data" in answer["error"]["message"]


def test_a_path_before_the_name_is_dropped(api: SimulatedApi) -> None:
    _, file = post(api, form(PDF, filename="x/y/z.pdf"))
    assert file["filename"] == "z.pdf"


def test_files_are_listed_newest_first_page_by_page_and_by_their_ids(api: SimulatedApi) -> None:
    ids = [kept(api, PDF + bytes([number])) for number in range(3)]
    _, page = call(api, "GET", "/v1/files?limit=2")
    assert [file["id"] for file in page["data"]] == [ids[2], ids[1]]
    _, rest = call(api, "GET", f"/v1/files?limit=2&page={page['next_page']}")
    assert [file["id"] for file in rest["data"]] == [ids[0]]
    assert rest["next_page"] is None
    _, named = call(api, "GET", f"/v1/files?ids={ids[0]}&ids=file_unknown")
    assert [file["id"] for file in named["data"]] == [ids[0]]
    assert call(api, "GET", "/v1/files?limit=1001")[0] == 400


def test_a_deleted_file_is_not_found_by_anything(api: SimulatedApi) -> None:
    file_id = kept(api)
    assert call(api, "DELETE", f"/v1/files/{file_id}") == (200, {"id": file_id, "type": "file_deleted"})
    for status, answer in (
        call(api, "GET", f"/v1/files/{file_id}"),
        call(api, "DELETE", f"/v1/files/{file_id}"),
        ask(api, {"type": "file", "file_id": file_id}),
    ):
        assert (status, answer["error"]["type"]) == (404, "not_found_error")
        assert file_id in answer["error"]["message"]
    assert call(api, "GET", "/v1/files")[1]["data"] == []


def test_an_expired_file_says_so_and_a_restart_of_the_clock_does_not_bring_it_back(api: SimulatedApi) -> None:
    file_id = kept(api, expires=DAY_S)
    assert ask(api, {"type": "file", "file_id": file_id})[0] == 200
    api.advance(DAY_S + 1)
    for status, answer in (call(api, "GET", f"/v1/files/{file_id}"), ask(api, {"type": "file", "file_id": file_id})):
        assert status == 404
        assert answer["error"]["details"] == {"error_code": "file_expired"}
    assert call(api, "GET", "/v1/files")[1]["data"] == []


def test_an_uploaded_file_cannot_be_downloaded(api: SimulatedApi) -> None:
    status, answer = call(api, "GET", f"/v1/files/{kept(api)}/content")
    assert status == 400
    assert answer["error"]["details"] == {"error_code": "file_not_downloadable"}


def test_files_belong_to_a_workspace(api: SimulatedApi) -> None:
    file_id = kept(api)
    assert call(api, "GET", f"/v1/files/{file_id}", x_api_key="key-b")[0] == 404
    assert ask(api, {"type": "file", "file_id": file_id}, x_api_key="key-b")[0] == 404
    assert call(api, "GET", "/v1/files", x_api_key="key-b")[1]["data"] == []


@pytest.mark.parametrize(
    ("data", "media_type", "kind"),
    [
        (PDF, "application/pdf", "document"),
        (LONG_PDF, "application/pdf", "document"),
        (PIXEL, "image/png", "image"),
        (b"Some words.", "text/plain", "document"),
    ],
)
def test_a_file_costs_and_means_what_the_same_bytes_do(
    api: SimulatedApi, data: bytes, media_type: str, kind: str
) -> None:
    within = inline(data, media_type)
    if media_type == "text/plain":
        within = {"type": "text", "media_type": media_type, "data": data.decode()}
    _, sent_within = ask(api, within, kind)
    _, by_name = ask(api, {"type": "file", "file_id": kept(api, data, media_type)}, kind)
    assert by_name["usage"]["input_tokens"] == sent_within["usage"]["input_tokens"]
    assert by_name["content"] == sent_within["content"]
    assert len(api.counts()) == 1, "to the books both are one request"
    counted = [
        call(api, "POST", "/v1/messages/count_tokens", without_max_tokens(body), content_type="application/json")[1]
        for body in (asking(within, kind), asking({"type": "file", "file_id": kept(api, data, media_type)}, kind))
    ]
    assert counted[0] == counted[1]


def without_max_tokens(body: bytes) -> bytes:
    fields = json.loads(body)
    del fields["max_tokens"]
    return json.dumps(fields).encode()


def test_a_block_takes_only_files_that_it_can_show(api: SimulatedApi) -> None:
    status, answer = ask(api, {"type": "file", "file_id": kept(api)}, "image")
    assert (status, answer["error"]["type"]) == (400, "invalid_request_error")
    status, _ = ask(api, {"type": "file", "file_id": kept(api, PIXEL, "image/png")}, "document")
    assert status == 400


def test_a_request_in_a_batch_names_files_too(api: SimulatedApi) -> None:
    file_id = kept(api)
    requests = [
        {"custom_id": name, "params": json.loads(asking({"type": "file", "file_id": named}))}
        for name, named in (("good", file_id), ("bad", "file_unknown"))
    ]
    body = json.dumps({"requests": requests}).encode()
    _, batch = call(api, "POST", "/v1/messages/batches", body, content_type="application/json")
    api.end_batches()
    for _ in range(500):
        batch = call(api, "GET", f"/v1/messages/batches/{batch['id']}")[1]
        if batch["processing_status"] == "ended":
            break
    counts = batch["request_counts"]
    assert (counts["succeeded"], counts["errored"]) == (1, 1)


def test_a_lost_reply_leaves_the_file(api: SimulatedApi) -> None:
    api.fault("reply_500", path="file_upload", times=1)
    status, _ = post(api, form(PDF))
    assert status == 500
    assert [upload["fault"] for upload in api.uploads()] == ["reply_500"]
    assert len(call(api, "GET", "/v1/files")[1]["data"]) == 1


def test_faults_strike_uploads_by_their_name(api: SimulatedApi) -> None:
    api.fault("413", path="file_upload", text="large.pdf")
    assert post(api, form(PDF, filename="large.pdf"))[0] == 413
    assert post(api, form(PDF, filename="small.pdf"))[0] == 200


def test_a_file_outlives_the_stand_in(tmp_path: Path) -> None:
    with simulated_api(tmp_path, key="*") as first:
        file_id = kept(first)
    with simulated_api(tmp_path, key="*") as second:
        assert ask(second, {"type": "file", "file_id": file_id})[0] == 200

"""A corpus is read strictly: each mistake is one sentence with file, line and mend, before any work."""

import json

import pytest

from flows.corpus import CorpusError, Line, read_corpus


def test_txt_has_a_text_per_line(tmp_path):
    path = tmp_path / "c.txt"
    path.write_bytes("\ufeffOne.\r\n\r\nTwo.\n".encode())
    assert read_corpus(path) == [Line("0001", "One."), Line("0003", "Two.")]


def test_jsonl_and_csv(tmp_path):
    (tmp_path / "c.jsonl").write_text('{"id": "a.b-c_1", "text": "Hé", "voice": "slt"}\n\n{"id": "b", "text": "x"}\n')
    assert read_corpus(tmp_path / "c.jsonl") == [Line("a.b-c_1", "Hé", "slt"), Line("b", "x")]
    (tmp_path / "c.csv").write_text('id,text,voice\na,"One, two\nand three",\nb,"say ""hi""",slt\n')
    assert read_corpus(tmp_path / "c.csv") == [Line("a", "One, two\nand three"), Line("b", 'say "hi"', "slt")]


def rows(*values):
    return "\n".join(json.dumps(v) for v in values)


ROW = {"id": "a", "text": "x"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("c.txt", "", "holds no text"),
        ("c.txt", " \n\n", "holds no text"),
        ("c.doc", "x", "a .txt, .jsonl or .csv file"),
        ("c.txt", b"fine\n\xe9\n", "line 2: is not UTF-8 (byte 0xe9); save it as UTF-8"),
        ("c.txt", "hé".encode("utf-16"), "is UTF-16"),
        ("c.jsonl", rows(ROW, {**ROW, "id": "A"}), "line 2: id 'A' is already that of line 1"),
        ("c.jsonl", rows(ROW) + "\n{oops\n", "line 2: is not JSON"),
        ("c.jsonl", "[1]", "line 1: must be an object"),
        ("c.jsonl", "[" * 100_000, "line 1: is not JSON"),
        ("c.jsonl", rows({**ROW, "txt": "y"}), "line 1: unknown column 'txt'"),
        ("c.jsonl", rows({"id": "a"}), "line 1: has no text"),
        ("c.jsonl", rows({"id": 3, "text": "x"}), "line 1: id must be a string, not 3"),
        ("c.jsonl", rows({**ROW, "text": "  "}), "line 1: its text is empty"),
        ("c.jsonl", rows({**ROW, "text": "x" * 1_000_001}), "has 1000001 characters"),
        ("c.csv", "id,txt\na,b\n", "line 1: unknown column 'txt'"),
        ("c.csv", "id\na\n", "the header must name id and text"),
        ("c.csv", "id,text,text\na,b,c\n", "the header must name id and text"),
        ("c.csv", "id,text\na,b,c\n", "line 2: has 3 fields, the header 2"),
        ("c.csv", 'id,text\na,"b\n', "line 2: is not CSV"),
        ("c.csv", "id,text\n", "holds no text"),
        *(
            ("c.jsonl", rows({"id": bad, "text": "x"}), "cannot name a file")
            for bad in ("", "a/b", "..", ".hidden", "a\x00", "x" * 101, "x" * 5000, "a b", "é", "a\n", "config.yaml")
        ),
    ],
)
def test_bad_corpus(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(CorpusError) as caught:
        read_corpus(path)
    assert message in str(caught.value) and name in str(caught.value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_missing_and_folder(tmp_path):
    with pytest.raises(CorpusError, match="no such file"):
        read_corpus(tmp_path / "none.txt")
    (tmp_path / "d.txt").mkdir()
    with pytest.raises(CorpusError, match="cannot be read"):
        read_corpus(tmp_path / "d.txt")

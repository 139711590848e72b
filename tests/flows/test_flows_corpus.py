"""A corpus is read strictly: each mistake is one sentence with file, line and mend, before any work."""

import json
import os
import resource
import subprocess
import sys

import pytest

from flows.corpus import CorpusError, Line, read_book, read_corpus


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
        ("c.jsonl", '{"id": ' + "1" * 5000 + "}", "line 1: is not JSON"),
        ("c.jsonl", '{"id": "a", "text": "x", "text": "y"}', "line 1: has 'text' twice"),
        ("c.jsonl", rows({**ROW, "text": "a\0b"}), "line 1: its text holds a NUL"),
        ("c.jsonl", rows({**ROW, "voice": "a\0b"}), "line 1: its voice holds a NUL"),
        ("c.jsonl", rows({**ROW, "text": "a \ud800 b"}), "line 1: its text holds half a character"),
        ("c.jsonl", rows({**ROW, "x" * 5000: "y"}), "line 1: unknown column 'xxx"),
        ("c.jsonl", rows({**ROW, "text": ["x" * 5000]}), "line 1: text must be a string, not ['xxx"),
        ("c.jsonl", rows(ROW) + "\n{oops\n{oops\n" + rows({"id": "a"}), "that cannot be used: 2)"),
        ("c.jsonl", b"{oops\n\xe9\n", "line 1: is not JSON"),
        ("c.txt", "One.\rTwo.\r", "line 1: holds a carriage return"),
        ("c.txt", "h\0i\0", "line 1: its text holds a NUL"),
        ("c.txt", "fine\n" + "x" * 13_000_000, "line 2: is longer than"),
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
        ("c.csv", 'id,text\nb,x\na,"' + "word\n" * 300_000, "line 3: is not CSV"),
        ("c.csv", "id,text\na,b,c\nb,x\nc\n", "line 2: has 3 fields, the header 2"),
        ("c.csv", "id,text\n", "holds no text"),
        *(
            ("c.jsonl", rows({"id": bad, "text": "x"}), "cannot name a file")
            for bad in (
                "",
                "a/b",
                "..",
                ".hidden",
                "a\x00",
                "x" * 101,
                "x" * 5000,
                "a b",
                "é",
                "a\n",
                "config.yaml",
                "sha256SUMS",
                "choices.yaml",
                "ljspeech",
                "train.jsonl",
                "con",
                "NUL",
                "Com1.x",
            )
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
    with pytest.raises(CorpusError, match="it is a folder"):
        read_corpus(tmp_path / "d.txt")
    (tmp_path / "zero.jsonl").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe.csv")
    for name in ("zero.jsonl", "pipe.csv"):
        with pytest.raises(CorpusError, match="it is a device"):
            read_corpus(tmp_path / name)
    with pytest.raises(CorpusError, match="cannot be read|no such file"):
        read_corpus("a\0.txt")


def test_ids_of_a_txt_stay_when_lines_are_appended(tmp_path):
    path = tmp_path / "c.txt"
    path.write_text("x\n" * 9_999)
    before = read_corpus(path)
    path.write_text("x\n" * 10_001)
    assert read_corpus(path)[:9_999] == before


def test_long_texts_fit_in_every_format(tmp_path):
    text = "\N{GRINNING FACE}" * 999_999 + "x"
    (tmp_path / "c.jsonl").write_text(json.dumps({"id": "a", "text": text}))  # 12 bytes for each character
    (tmp_path / "c.csv").write_text(f"id,text\na,{text}\n")
    (tmp_path / "c.txt").write_text(text)
    assert [read_corpus(tmp_path / name)[0].text for name in ("c.jsonl", "c.csv", "c.txt")] == [text] * 3


def test_a_line_of_a_gigabyte_costs_neither_memory_nor_time(tmp_path):
    code = "import sys\nfrom flows.corpus import read_corpus\nread_corpus(sys.argv[1])"
    for name in ("c.txt", "c.jsonl", "c.csv"):
        with open(tmp_path / name, "wb") as file:
            file.write(b"id,text\n" if name == "c.csv" else b"\n")
            file.truncate(1_000_000_000)  # a hole in the file: zeros that need no room
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / name)],
            capture_output=True, text=True, timeout=30,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (200 << 20, 200 << 20)),
        )  # fmt: skip
        assert "CorpusError" in done.stderr.splitlines()[-1] and "line 2: is" in done.stderr, name


def test_book_has_a_line_per_chapter(tmp_path):
    path = tmp_path / "book.md"
    path.write_text(
        "Front.\n\n# The Fog\n\nIt came\nat night.\n\n# “Où est-il?”, she asked; and nobody had an answer\n\nx\n"
    )
    assert [(line.id, line.title, line.text) for line in read_book(path)] == [
        ("01", None, "Front."),
        ("02-the-fog", "The Fog", "It came at night."),
        ("03-ou-est-il-she-asked-and-nobody-had-an-an",
         "“Où est-il?”, she asked; and nobody had an answer", "x"),
    ]  # fmt: skip
    path.write_text("".join(f"# One\n\n{n}\n\n" for n in range(120)))
    lines = read_book(path)
    assert lines[0].id == "001-one" and [line.id for line in lines] == sorted({line.id for line in lines})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("b.pdf", "x", "a .txt or .md file"),
        ("b.txt", " \n***\n", "holds no text"),
        ("b.txt", b"a\nb\xe9", "line 2: is not UTF-8"),
        ("b.txt", "One\n\nChapter 1\n\na\0b", "chapter 2 ('Chapter 1'): its text holds a NUL"),
        ("b.md", "x" * 1_000_001, "chapter 1 (None): its text has 1000001 characters"),
        ("b.md", "x" * 30_000_001, "split it into several books"),
    ],
)
def test_bad_book(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(CorpusError) as caught:
        read_book(tmp_path / name)
    assert message in str(caught.value) and name in str(caught.value) and len(str(caught.value)) < 400

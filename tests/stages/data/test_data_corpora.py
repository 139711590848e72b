"""Readers of corpora: every layout as it is found in the wild, and every fault in it told."""

import json
import random

import pytest

from stages.core.config import ConfigError
from stages.data.corpora import read_corpus
from stages.data.corpora.rows import id_of_path, make_id, text_fault
from stages.data.languages import language_code
from stages.data.recording import Problem, Recording

LISTS = {
    "ljspeech": "{id}|{text}|{text}",
    "melotts": "wavs/{id}.wav|ann|EN|{text}",
    "nemo": '{{"audio_filepath": "wavs/{id}.wav", "text": "{text}", "duration": 1.5, "speaker": "ann"}}',
    "melle": '{{"transcription": "{text}", "audio_path": "wavs/{id}.wav", "speaker": "ann"}}',
    "audiofolder": '{{"file_name": "wavs/{id}.wav", "text": "{text}", "speaker": "ann"}}',
    "manifest": '{{"id": "{id}", "audio": "wavs/{id}.wav", "text": "{text}", "speaker": "ann"}}',
}
"""a row of every corpus that has a list"""
NAMES = {"ljspeech": "metadata.csv", "audiofolder": "metadata.jsonl"}
IS_FOLDER = {"ljspeech", "audiofolder"}


def sound(path, data=b"RIFF, which no reader opens"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@pytest.fixture
def corpus(tmp_path):
    """Gives `corpus(kind, lines, *sets)`: what the reader finds in a list of these lines, and sounds a, b and c."""
    for name in "abc":
        sound(tmp_path / "wavs" / f"{name}.wav")

    def read(kind, lines, *sets):
        path = tmp_path / NAMES.get(kind, "list.txt")
        path.write_bytes(lines if isinstance(lines, bytes) else "\n".join(lines).encode())
        return found(kind, tmp_path if kind in IS_FOLDER else path, *sets)

    def found(kind, path, *sets):
        config = tmp_path / "c.yaml"
        config.write_text(f"corpus: {kind}\npath: {path}\nout: {tmp_path / 'out'}\n")
        job = read_corpus(config, sets)
        assert job.steps == {"out": str(tmp_path / "out")}
        return list(job.read(job.config))

    read.folder = lambda kind, *sets: found(kind, tmp_path, *sets)
    return read


def row(kind, id, text="It came."):
    return LISTS[kind].format(id=id, text=text)


def reasons(found):
    return [f.reason if isinstance(f, Problem) else f.id for f in found]


@pytest.mark.parametrize("kind", LISTS)
def test_rows_become_recordings(corpus, tmp_path, kind):
    found = corpus(kind, [row(kind, "a"), "", row(kind, "b", "He said: caf\u00e9,\u2028 *now*; it's 5 o'clock.")])
    path = tmp_path / NAMES.get(kind, "list.txt")
    speaker = "speaker" if kind == "ljspeech" else "ann"
    assert found == [
        Recording("a", tmp_path / "wavs" / "a.wav", "It came.", speaker, f"{path}:1"),
        Recording("b", tmp_path / "wavs" / "b.wav", "He said: café, *now*; it's 5 o'clock.", speaker, f"{path}:3"),
    ]


@pytest.mark.parametrize("kind", LISTS)
def test_a_bad_row_is_a_problem_and_stops_nothing(corpus, tmp_path, kind):
    sound(tmp_path / "wavs" / "empty.wav", b"")
    sound(tmp_path / "wavs" / "odd.WAV")
    sound(tmp_path.parent / "outside.wav")
    lines = [row(kind, "a"), row(kind, "none"), row(kind, "empty"), row(kind, "odd"), row(kind, "a", "Again."),
             row(kind, "b", "  "), row(kind, "c", "wavs/c.wav"), row(kind, "d", "3.52"),
             row(kind, "e", "The caf\u00c3\u00a9."), row(kind, "f", "Br\ufffdken."),
             row(kind, "../../outside")]  # fmt: skip
    found = corpus(kind, lines)
    assert reasons(found) == [
        "a", "missing_audio", "empty_audio", "missing_audio", "duplicate_id", "empty_text", "text_is_path",
        "text_is_number", "wrong_encoding", "wrong_encoding", "path_escapes",
    ]  # fmt: skip
    by = {f.where.rsplit(":", 1)[1]: f.detail for f in found[1:]}
    assert "none.wav is not there; add it" in by["2"] and "'odd.WAV' is" in by["4"]
    assert by["5"].startswith("its id is already that of ") and ":1;" in by["5"]
    assert "encoded twice" in by["9"] and "leads out of" in by["11"]
    assert all(f.where.endswith(f":{n}") for n, f in enumerate(found, 1))


@pytest.mark.parametrize(
    ("kind", "line", "reason"),
    [
        ("ljspeech", "a|one|two|three", "wrong_columns"),
        ("ljspeech", "a", "wrong_columns"),
        ("melotts", "wavs/a.wav|ann|It came.", "wrong_columns"),
        ("melotts", "wavs/c.wav|ann|ZH|It came.", "unknown_language"),
        ("nemo", '{"audio_filepath": "wavs/c.wav", "txt": "It came."}', "missing_key"),
        ("nemo", '{"audio_filepath": "wavs/c.wav", "text": "x y", "duration": "long"}', "bad_duration"),
        ("nemo", '{"audio_filepath": "wavs/c.wav", "text": "x y", "duration": NaN}', "bad_duration"),
        ("nemo", '{"audio_filepath": "wavs/c.wav", "text": "x y", "offset": 2.5}', "segment"),
        ("nemo", '{"audio_filepath": null, "text": "x y"}', "missing_audio"),
        ("melle", '{"transcription": "It came.", "audio_path"', "not_json"),
        ("melle", "[" * 100_000, "not_json"),
        ("melle", '["It came.", "wavs/c.wav"]', "not_json"),
        ("melle", '{"transcription": null, "audio_path": "wavs/c.wav"}', "empty_text"),
        ("melle", '{"transcription": "It came.", "audio_path": "wavs"}', "missing_audio"),
        ("melle", '{"transcription": "It came.", "audio_path": "wavs/\\u0000.wav"}', "missing_audio"),
        ("melle", '{"transcription": "Half \\ud800 one.", "audio_path": "wavs/c.wav"}', "wrong_encoding"),
        ("melle", '{"transcription": "It came.", "audio_path": "wavs/\\ud800.wav"}', "missing_audio"),
        ("melle", '{"transcription": "It came.", "audio_path": "wavs/c.wav", "speaker": "\\u0000"}', "wrong_encoding"),
        ("melle", '{"transcription": "It came.", "audio_path": "wavs\\\\c.wav"}', "missing_audio"),
        ("audiofolder", '{"file_name": "wavs/c.wav", "txet": "It came."}', "missing_key"),
        ("manifest", row("manifest", "c")[:-1] + ', "phones": [["aa", 1.0], ["b", 0.5]]}', "bad_phones"),
        ("manifest", row("manifest", "c")[:-1] + ', "phones": [["aa"]]}', "bad_phones"),
    ],
)
def test_faults_of_one_layout(corpus, kind, line, reason):
    found = corpus(kind, [row(kind, "a"), line, row(kind, "b")])
    assert reasons(found) == ["a", reason, "b"] and found[1].where.endswith(":2")


@pytest.mark.parametrize(
    ("kind", "lines", "message"),
    [
        ("melotts", ["It came.|wavs/a.wav|EN"], r"list.txt:1: has 3 columns where a row is path\|speaker\|language"),
        ("melotts", ["It came.|ann|EN|wavs/a.wav"] * 3, r":1: its text 'wavs/a.wav' is a path.*so in 3 of 3 rows"),
        ("melotts", ["wavs/a.wav|ann|ZH|x y"], r":1: there is no pronunciation \(G2P\) for .* 'ZH'; known: en"),
        ("nemo", ['{"audio_file": "wavs/a.wav", "text": "x y"}'], "has no 'audio_filepath'; did you mean 'audio_file'"),
        ("nemo", ["a|b|c"], ":1: is not JSON"),
        ("ljspeech", ["x|It came.|It came."], "wavs/x.wav is not there"),
        ("ljspeech", "id|x\nb|caf\u00e9".encode("latin-1"), r"metadata.csv: line 2: is not UTF-8 \(byte 0xe9\)"),
        ("melle", '{"transcription": "x"}'.encode("utf-16"), "is UTF-16; save it as UTF-8"),
        ("melle", b"", "holds no utterances"),
    ],
)  # fmt: skip
def test_a_list_that_is_wrong_as_a_whole_is_one_sentence(corpus, kind, lines, message):
    with pytest.raises(ConfigError, match=message):
        corpus(kind, lines)


def test_a_byte_order_mark_and_windows_line_ends(corpus):
    text = "a|It came.|It came.\r\nb|It left.|It left.\r\n"
    assert [f.text for f in corpus("ljspeech", b"\xef\xbb\xbf" + text.encode())] == ["It came.", "It left."]


def test_ljspeech_variants(corpus, tmp_path):
    sound(tmp_path / "wavs" / "d.flac")
    lines = ['a|Dr. "X" said|doctor "x said', "b|only raw|", "wavs/c.wav|two columns", 'd|"half a quote|"half a quote']
    found = corpus("ljspeech", lines, "speaker=linda")
    assert [(f.id, f.text) for f in found] == [
        ("a", 'doctor "x said'), ("b", "only raw"), ("c", "two columns"), ("d", '"half a quote'),
    ]  # fmt: skip
    assert found[3].audio.name == "d.flac" and {f.speaker for f in found} == {"linda"}
    assert corpus("ljspeech", lines, "column=raw")[0].text == 'Dr. "X" said'
    with pytest.raises(ConfigError, match="column must be normalised or raw"):
        corpus("ljspeech", lines, "column=third")
    with pytest.raises(ConfigError, match="mp3s: no such folder"):
        corpus("ljspeech", lines, "sounds=mp3s")


def test_paths_of_lists(corpus, tmp_path):
    sound(tmp_path / "elsewhere" / "one" / "a.wav")
    sound(tmp_path / "elsewhere" / "two" / "a.wav")
    absolute = tmp_path / "wavs" / "b.wav"
    lines = ["one/a.wav|x|EN-US|It came.", "two/a.wav|y|en_GB|It came.", f"{absolute}|x|EN|It came.",
             "one/../two/a.wav|x|EN|It came."]  # fmt: skip
    found = corpus("melotts", lines, f"root={tmp_path / 'elsewhere'}")
    assert (
        reasons(found)[:2] == ["one-a", "two-a"] and reasons(found)[3] == "duplicate_id"
    )  # one file, written otherwise
    assert found[2].audio == absolute and found[2].id.startswith("b-") and found[0].language == "en"
    assert corpus("melotts", [f"{absolute}|x|EN|It came."])[0].id == "b"


def test_audiofolder_csv_and_splits(corpus, tmp_path):
    sound(tmp_path / "train" / "x.wav")
    sound(tmp_path / "test" / "x.wav")
    header = "file_name,sentence,speaker_id\n"
    (tmp_path / "train" / "metadata.csv").write_text(header + 'x.wav,"He said ""no"", and left.",7\nx.wav,1,2,3\n\n')
    (tmp_path / "test" / "metadata.csv").write_text(
        header + "x.wav,It came.,8\n../x.wav,It came.,8\n../../x.wav,It,8\n"
    )
    found = corpus.folder("audiofolder")
    assert reasons(found) == ["test-x", "missing_audio", "path_escapes", "train-x", "wrong_columns"]
    assert (found[3].text, found[3].speaker) == ('He said "no", and left.', "7")
    with pytest.raises(ConfigError, match="has no 'txet'; known: file_name, sentence"):
        corpus.folder("audiofolder", "text=txet")
    (tmp_path / "test" / "metadata.csv").write_text("name,text\nx.wav,It came.\n")
    with pytest.raises(ConfigError, match="test/metadata.csv:1: its header has no file_name; did you mean 'name'"):
        corpus.folder("audiofolder")
    (tmp_path / "test" / "metadata.csv").write_text(header + 'x.wav,"It came\n')
    with pytest.raises(ConfigError, match="is not CSV"):
        corpus.folder("audiofolder")
    (tmp_path / "test" / "metadata.jsonl").write_text("{}")
    with pytest.raises(ConfigError, match="holds both"):
        corpus.folder("audiofolder")


def test_libritts(corpus, tmp_path):
    place = tmp_path / "train-clean-100" / "103" / "1240"
    for name, normalized in (("a", "Doctor X came."), ("b", None), ("c", "No sound.")):
        if name != "c":
            sound(place / f"103_1240_{name}.wav")
        if normalized:
            (place / f"103_1240_{name}.normalized.txt").write_text(normalized + "\n")
        (place / f"103_1240_{name}.original.txt").write_text("Dr. X came.")
    for file in (tmp_path / "wavs").iterdir():
        file.unlink()
    found = corpus.folder("libritts")
    assert reasons(found) == ["103_1240_a", "missing_text", "missing_audio"]
    assert found[0].speaker == "103" and found[0].text == "Doctor X came."
    assert "103_1240_b.normalized.txt" in found[1].detail and "103_1240_c.wav" in found[2].detail
    sound(place / "103_1240_a.flac")
    again = corpus.folder("libritts")
    assert reasons(again) == ["duplicate_id", *reasons(found)] and "103_1240_a.flac" in again[1].audio.name
    (place / "103_1240_a.flac").unlink()
    found = corpus.folder("libritts", "text=original")
    assert reasons(found) == ["103_1240_a", "103_1240_b", "missing_audio"] and found[1].text == "Dr. X came."


def test_librispeech(corpus, tmp_path):
    place = tmp_path / "dev-clean" / "84" / "121"
    for name in ("0", "1", "9"):
        sound(place / f"84-121-{name}.flac")
    (place / "84-121.trans.txt").write_text("84-121-0 GO DO YOU HEAR\n84-121-1 \n84-121-2 NO SOUND\n")
    other = tmp_path / "dev-clean" / "85" / "1"
    sound(other / "85-1-0.flac")
    (other / "85-1.trans.txt").write_bytes(b"85-1-0 CAF\xc9\n")
    for file in (tmp_path / "wavs").iterdir():
        file.unlink()
    found = corpus.folder("librispeech")
    assert reasons(found) == [
        "84-121-0", "empty_text", "missing_audio", "wrong_encoding", "missing_text", "missing_text",
    ]  # fmt: skip
    assert (found[0].text, found[0].speaker) == ("go do you hear", "84")
    assert "line in 84-121.trans.txt" in found[4].detail


@pytest.mark.parametrize(
    ("folder", "ending", "sets"),
    [
        ("wav48_silence_trimmed", "_mic1.flac", ()),
        ("wav48_silence_trimmed", "_mic2.flac", ("microphone=mic2",)),
        ("wav48", ".wav", ()),
    ],
)
def test_vctk(corpus, tmp_path, folder, ending, sets):
    for speaker, name in (("p225", "p225_001"), ("p225", "p225_002"), ("p315", "p315_001")):
        for one in ("_mic1.flac", "_mic2.flac") if "mic" in ending else (ending,):
            sound(tmp_path / folder / speaker / f"{name}{one}")
    (tmp_path / "txt" / "p225").mkdir(parents=True)
    (tmp_path / "txt" / "p225" / "p225_001.txt").write_text("Please call Stella.\n")
    (tmp_path / "txt" / "p225" / "p225_002.txt").write_bytes(b"Caf\xe9.")
    (tmp_path / "txt" / "p225" / "p225_003.txt").write_text("No sound.")
    found = corpus.folder("vctk", *sets)
    assert reasons(found) == ["p225_001", "wrong_encoding", "missing_audio", "missing_text"]
    assert found[0].audio == tmp_path / folder / "p225" / f"p225_001{ending}"
    assert (found[0].text, found[0].speaker) == ("Please call Stella.", "p225")
    assert f"p225_003{ending}" in found[2].detail and "txt/p315/p315_001.txt" in found[3].detail


def test_folders_that_are_no_corpus(corpus, tmp_path):
    for kind, message in (
        ("vctk", "holds no txt"),
        ("librispeech", "is in no transcript"),
        ("libritts", "has no text"),
    ):
        with pytest.raises(ConfigError, match=message):
            corpus.folder(kind)
    for kind in ("vctk", "librispeech", "libritts", "ljspeech", "audiofolder"):
        with pytest.raises(ConfigError, match="nowhere: is not there"):
            corpus.folder(kind, f"path={tmp_path / 'nowhere'}")
    for kind in ("melotts", "nemo", "melle", "manifest"):
        with pytest.raises(ConfigError, match="nowhere: no such file"):
            corpus.folder(kind, f"path={tmp_path / 'nowhere'}")
        with pytest.raises(ConfigError, match="cannot be read"):
            corpus.folder(kind)


def test_timings_of_a_manifest_are_kept(corpus):
    line = row("manifest", "a")[:-1] + ', "phones": [["pau", 0.2], ["ay", 1]]}'
    assert corpus("manifest", [line])[0].phones == (("pau", 0.2), ("ay", 1.0))


def test_bad_configs(corpus, tmp_path):
    for sets, message in (
        (("path=''",), "give path"),
        (("path=x", "language=fr"), "no pronunciation.*'fr'"),
        (("path=x", "speeker=y"), "did you mean 'speaker'"),
    ):
        with pytest.raises(ConfigError, match=message):
            corpus.folder("nemo", *sets)
    with pytest.raises(ConfigError, match="no corpus 'ljspech'; did you mean 'ljspeech'"):
        corpus.folder("ljspech")
    with pytest.raises(ConfigError, match="'rows' is no corpus"):
        corpus.folder("rows")


def test_ids_are_safe_and_different(tmp_path):
    assert make_id("LJ001-0001") == "LJ001-0001"
    odd = [make_id(name) for name in ("a b", "a.b", "a/b", "../b", "é", "x" * 500, "x" * 501)]
    assert len(set(odd)) == 7 and all(len(i) <= 100 and i.replace("-", "").replace("_", "").isalnum() for i in odd)
    assert id_of_path("wavs/x.wav", tmp_path) == "x" and id_of_path("clips/s1/x.wav", tmp_path) == "s1-x"
    assert id_of_path(str(tmp_path / "s1" / "x.wav"), tmp_path) == "s1-x"
    assert id_of_path("/elsewhere/x.wav", tmp_path) != id_of_path("/another/x.wav", tmp_path)


def test_texts_that_are_none():
    for text in ("wavs/a.wav", "a.flac", "/data/x/y", "12", "-3.25", "1:30", "", " \t"):
        assert text_fault(text), text
    for text in ("It came.", "and/or", "Chapter 5", "1984 was it.", "naïve café", "Ça va, São Paulo", "5 km/h", "x.y"):
        assert text_fault(text) is None, text


def test_language_names():
    assert {language_code(n) for n in ("en", "EN", "en-US", "EN_GB", "English", "eng")} == {"en"}
    with pytest.raises(ValueError, match="'english2'.*"):
        language_code("english2")


def test_example_configs_are_read(monkeypatch):
    from pathlib import Path

    root = Path(__file__).resolve().parents[3]
    names = {path.stem for path in (root / "configs" / "data").glob("*.yaml")}
    assert {*LISTS, "libritts", "librispeech", "vctk", "starter"} - {"manifest"} <= names
    for name in names:
        job = read_corpus(root / "configs" / "data" / f"{name}.yaml")
        assert (job.render is None) != (job.read is None)


def test_json_of_a_list_stays_data(corpus):
    hostile = {"audio_path": "wavs/a.wav", "transcription": "<script>alert(1)</script> said", "id": "../../etc/passwd"}
    [found] = corpus("melle", [json.dumps(hostile)])
    assert "/" not in found.id and "." not in found.id and found.text == hostile["transcription"]


@pytest.mark.parametrize("kind", LISTS)
def test_damaged_lists_are_told_never_a_crash(corpus, kind):
    rng = random.Random(kind)
    whole = "\n".join(row(kind, name, f"It came {name} times.") for name in "abcde").encode()
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(data))
            piece = rng.choice(
                [b"", b"|", b'"', b"\n", b"\0", b"{", b"\xc3", "é".encode(), b"../", bytes([rng.randrange(256)])]
            )
            data[at : at + rng.randint(0, 3)] = piece
        try:
            found = corpus(kind, bytes(data))
        except ConfigError as error:
            assert "\n" not in str(error)
            continue
        assert found and all(isinstance(f, Recording | Problem) for f in found)
        kept = [f for f in found if isinstance(f, Recording)]
        assert len({f.id for f in kept}) == len(kept) and all(f.audio.is_file() and f.text for f in kept)

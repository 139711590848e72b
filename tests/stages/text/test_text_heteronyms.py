"""Each heteronym in sentences both ways."""

from __future__ import annotations

import pytest

from stages.text.stage import TextConfig, TextStage

CASES = """
read | I will read the book. | r iy d
read | She read the book yesterday. | r eh d
read | I have read it. | r eh d
lead | They lead the team. | l iy d
lead | The old lead pipe leaked. | l eh d
wind | The wind blew hard. | w ih n d
wind | Please wind up the clock. | w ay n d
close | Please close the door. | k l ow z
close | They are close friends. | k l ow s
live | I live in London. | l ih v
live | We saw a live concert. | l ay v
tear | A tear rolled down her cheek. | t ih r
tear | Do not tear the paper. | t eh r
bow | He tied a bow in her hair. | b ow
bow | The actor took a bow. | b aw
record | She broke the record. | r eh k er d
record | They want to record a song. | r ih k ao r d
present | She gave me a present. | p r eh z ax n t
present | I will present the plan. | p r ih z eh n t
object | It is a strange object. | aa b jh eh k t
object | I object to that. | ax b jh eh k t
content | The content is new. | k aa n t eh n t
content | She was content with it. | k ax n t eh n t
minute | Wait a minute. | m ih n ax t
minute | It has a minute amount of salt. | m ay n uw t
desert | The desert is dry. | d eh z er t
desert | They would never desert us. | d ih z er t
refuse | I refuse to go. | r ih f y uw z
refuse | The refuse was collected. | r eh f y uw z
project | The project is late. | p r aa jh eh k t
project | They project a loss. | p r ax jh eh k t
produce | They produce cars. | p r ax d uw s
produce | We buy fresh produce. | p r ow d uw s
conduct | His conduct was poor. | k aa n d ah k t
conduct | They will conduct a study. | k ax n d ah k t
contract | He signed the contract. | k aa n t r ae k t
contract | Metals contract in the cold. | k ax n t r ae k t
use | You can use it. | y uw z
use | It is of no use. | y uw s
house | The house is big. | hh aw s
house | They will house the guests. | hh aw z
excuse | Excuse me, please. | ih k s k y uw z
excuse | That is a poor excuse. | ih k s k y uw s
abuse | They never abuse it. | ax b y uw z
abuse | The abuse must stop. | ax b y uw s
bass | He plays bass guitar. | b ey s
bass | He caught a bass in the lake. | b ae s
dove | The white dove flew away. | d ah v
dove | She dove into the pool. | d ow v
sow | You sow the seeds. | s ow
sow | The sow fed her piglets. | s aw
wound | The wound healed. | w uw n d
wound | He wound the clock. | w aw n d
polish | Please polish the silver. | p aa l ih sh
polish | She speaks Polish fluently. | p ow l ih sh
row | They sat in the front row. | r ow
row | A row broke out about money. | r aw
does | She does it well. | d ah z
does | The bucks and does ran off. | d ow z
invalid | The ticket is invalid. | ih n v ae l ih d
invalid | He cared for the invalid. | ih n v ax l ih d
separate | They have separate rooms. | s eh p er ax t
separate | We must separate them. | s eh p er ey t
estimate | It is a rough estimate. | eh s t ih m ax t
estimate | I estimate the cost. | eh s t ih m ey t
graduate | She is a graduate student. | g r ae jh uw ax t
graduate | They will graduate soon. | g r ae jh uw ey t
moderate | It was a moderate success. | m aa d er ax t
moderate | She will moderate the debate. | m aa d er ey t
rebel | The rebel was caught. | r eh b ax l
rebel | They will rebel. | r ih b eh l
suspect | The suspect ran. | s ah s p eh k t
suspect | I suspect that he knows. | s ax s p eh k t
export | We export wine. | ih k s p ao r t
export | The main export is oil. | eh k s p ao r t
protest | The protest was peaceful. | p r ow t eh s t
protest | They will protest. | p r ax t eh s t
subject | The subject is difficult. | s ah b jh ih k t
subject | They will subject him to tests. | s ax b jh eh k t
convict | The convict escaped. | k aa n v ih k t
convict | The jury will convict him. | k ax n v ih k t
conflict | The conflict ended. | k aa n f l ih k t
conflict | The two dates may conflict. | k ax n f l ih k t
resume | We will resume the talks. | r ih z uw m
resume | He sent his resume to the firm. | r eh z ax m ey
increase | The increase was small. | ih ng k r iy s
lives | He lives in Rome. | l ih v z
lives | They saved many lives. | l ay v z
used | I used to sing. | y uw s t
used | He used the hammer. | y uw z d
"""
ROWS = [tuple(part.strip() for part in line.split("|")) for line in CASES.strip().splitlines()]


@pytest.fixture(scope="module")
def stage() -> TextStage:
    return TextStage.load(TextConfig(), "cpu")


@pytest.mark.parametrize(("word", "text", "phones"), ROWS, ids=[row[1] for row in ROWS])
def test_heteronym(word, text, phones, stage):
    words = stage.run([{str: text}], seeds=None)[0].words
    assert " ".join(next(w.phones for w in words if w.spoken == word)) == phones


def test_the_before_a_vowel(stage):
    words = stage.run([{str: "The apple on the table."}], seeds=None)[0].words
    assert words[0].phones == ("dh", "iy")
    assert words[3].phones == ("dh", "ax")

"""What a stage reads only where it is given: keys and order; routes without such a stage keep every key they had."""

import dataclasses

import pytest

from stages.core import route
from stages.core.config import ConfigError
from stages.core.fingerprint import digest
from stages.core.route import check_chain, load_route
from stages.core.types import Audio, Mel, Phonemes, Tones, Voice, WordVectors
from stages.core.units import plan_unit

VOICE = "v" * 64


def keys(unit):
    return [step.keys for step in unit.steps]


def test_keys_are_those_of_before_there_were_optional_inputs(world):
    """Computed by the code of the commit before; a change here orphans what users have in their caches."""
    whole = plan_unit(load_route(), "Hello there.", VOICE, 7)
    assert digest(keys(whole)) == "ecc70c12e3a1add16b48c99dfab226357a3031ad2710679d7c58bf4c8413567f"
    picked = plan_unit(load_route(), "Hello there.", VOICE, 7, 3, 0)
    assert digest(keys(picked)) == "3be822676d8972602dded504f4a4ff27475171fc0f404113c5e57867b9a0ef9c"


def test_the_text_stages_own_key_stays():
    spec = load_route().nodes[0].spec
    assert (spec.name, spec.version, spec.gives, spec.accepts) == ("text", 1, Phonemes, ())
    unit = plan_unit(load_route(), "Hello there.", VOICE, 7)
    assert unit.steps[0].keys[0].startswith("f73d3b56")


@pytest.fixture
def chain(world):
    """Gives the fake route whose vocoder accepts tones and word vectors, with stages put before it."""
    own = load_route()
    text = own.nodes[0]

    def make(*given):
        extra = [
            dataclasses.replace(
                text, spec=dataclasses.replace(text.spec, name=kind.__name__, needs=(Phonemes,), gives=kind)
            )
            for kind in given
        ]
        last = own.nodes[-1]
        hears = dataclasses.replace(last, spec=dataclasses.replace(last.spec, accepts=(Tones, WordVectors)))
        made = dataclasses.replace(own, nodes=(*own.nodes[:-1], *extra, hears))
        check_chain(made)
        return made

    return make


def test_only_what_an_earlier_stage_gives_is_read(chain):
    for given in ((), (Tones,), (WordVectors,), (WordVectors, Tones)):
        made = chain(*given)
        wanted = (Mel, *(kind for kind in (Tones, WordVectors) if kind in given))
        assert made.reads(len(made.nodes) - 1) == wanted
        assert made.nodes[-1].spec.gives is Audio
    last = chain(Tones)
    late = dataclasses.replace(last, nodes=(*last.nodes[:-2], last.nodes[-1], last.nodes[-2]))
    assert Tones not in late.reads(len(late.nodes) - 2)
    with pytest.raises(ConfigError, match="gives Tones, not Audio"):
        check_chain(late)


def test_an_accepted_input_changes_the_key_and_no_other_does(chain):
    plain = plan_unit(chain(), "Hello.", VOICE, 1)
    assert keys(plain) == keys(plan_unit(load_route(), "Hello.", VOICE, 1))
    found = {keys(plan_unit(chain(*given), "Hello.", VOICE, 1))[-1] for given in ((Tones,), (WordVectors,))}
    assert len(found | {plain.steps[-1].keys}) == 3
    with_tones = plan_unit(chain(Tones), "Hello.", VOICE, 1)
    assert keys(with_tones)[:-2] == keys(plain)[:-1]


def test_stages_of_the_vits_route_fit():
    names = ("text", "stress", "bert", "vits")
    nodes = [route._node(name, {}, "test") for name in names]
    made = route.Route("own", "a", tuple(nodes))
    check_chain(made)
    assert made.reads(3) == (Phonemes, Voice, Tones, WordVectors)

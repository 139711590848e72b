"""Caretta's stages: text in, speech out, through separately trained models that meet only in `core/types.py`.

    text ─► Phonemes            stages/text             normalise, G2P
    Phonemes + Voice ─► Candidates   stages/autoregressive   GPT-2 style decoder with a monotonic phone pointer
    Phonemes + Candidates ─► RankedCodes   stages/rerank     text and speech towers, judges
    RankedCodes + Voice ─► Mel  stages/diffusion        flow matching around a regression prior
    Mel ─► Audio                stages/vocoder          source-filter (starter) or HiFi-GAN

and, next to that chain, VITS in one stage:

    Phonemes ─► Tones           stages/text/stress      lexical stress, by the lexicon
    Phonemes ─► WordVectors     stages/bert             a local encoder's word vectors, where a model hears them
    Phonemes + Voice ─► Audio   stages/vits             text encoder, flow, duration predictors, decoder

`codes` is the tokenizer that the decoder, the towers and the diffusion are trained on; `training`, `data` and
`evaluation` drive the stages and are none themselves. Imports point one way: flows -> stages/<x>/{stage,objective}
-> stages/<x>/model -> stages/nn -> stages/core. A stage never imports a stage; `stage.py` and `objective.py` never
import each other.

Words: a *phone* is one ARPAbet symbol, a *code* one speech token (32 ms in the starter), a *frame* one mel column
(16 ms), a *candidate* one sampled code sequence, a *voice* a reference clip with a name, a *key* the sha256 that
addresses a result. A *unit* is one sentence with the key of everything on its way, a *document* one text of units, a
*shard* units that go through a stage together, a *claim* the right to compute what no other process is computing, a
*slot* the right to run one task on a device.

Shapes: B batch, K candidates, P phones, N codes, T mel frames, M mel channels, D model width, L audio samples, R
reference frames.
"""

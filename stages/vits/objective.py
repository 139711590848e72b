"""Training of VITS: the losses of the papers, and what makes two cores enough for the starter voices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from stages.core import checkpoint, symbols
from stages.core.audio import mel_spectrogram
from stages.core.config import near_miss
from stages.data.features import Corpus
from stages.nn.discriminators import Discriminators
from stages.nn.spectral import stft_loss
from stages.nn.words import model_digest
from stages.training.adversarial import AdversarialLoss
from stages.training.adversaries import Adversaries
from stages.training.record import Picture, Sample, Sound
from stages.vits.alignment import search
from stages.vits.batches import Numbers, VitsBatches
from stages.vits.blocks import sequence_mask
from stages.vits.decoder import SourceFilterDecoder
from stages.vits.duration_discriminator import DurationDiscriminator, StackedDurations, stacked
from stages.vits.durations import LEAST
from stages.vits.losses import cut, kl_divergence
from stages.vits.model import Controls, Prior, Vits, VitsModelConfig, gathered
from stages.vits.posterior import sampled
from stages.vits.text_encoder import TextInput
from stages.vits.training import MEAN, MEAN_FRAMES, NEVER, TIMINGS, VitsTrainingConfig


@dataclass(frozen=True)
class _Aligned:
    """A batch with its latents and the prior at each frame."""

    prior: Prior
    mask: Tensor  # (B, 1, T)
    z: Tensor  # (B, C, T) drawn from the posterior
    mean: Tensor  # (B, C, T) of the prior
    log_std: Tensor  # (B, C, T)
    durations: Tensor  # (B, P) frames of each phone
    place: Tensor  # (B, T)
    kl: Tensor


class VitsObjective:
    """Losses by the papers' names.

    `kl`, `duration` (deterministic), `stochastic_duration`; of sound: `mel`, `stft`, `pitch`, `adversarial`,
    `matching`; of the source-filter decoder's log-mel: `envelope`, `end_to_end`.
    """

    stage = "vits"

    def __init__(self, config: VitsModelConfig, training: VitsTrainingConfig, corpus: Corpus, seed: int) -> None:
        self.config, self.training, self.corpus = config, training, corpus
        if config.blank and training.alignment == TIMINGS:
            raise ValueError("timings know nothing of blanks; set network.blank to false, or alignment to search")
        for name in training.speaker_repeats:
            if name not in corpus.speakers:
                raise ValueError(f"speaker_repeats: unknown speaker {name!r}{near_miss(name, corpus.speakers)}")
        self.batches = VitsBatches(
            corpus,
            config,
            _numbers(corpus, config, training),
            training.positions,
            training.crop,
            seed,
            training.speaker_repeats,
        )
        self.batches.check()
        self.model = Vits(config)
        if training.vocoder:
            _start_decoder(self.model, training.vocoder)
        self._adversary = _adversary(config, training)

    def batch(self, step: int) -> dict[str, Any]:
        """See VitsBatches.of."""
        return self.batches.batch(step)

    def losses(self, batch: dict[str, Any], generator: torch.Generator, step: int) -> dict[str, Tensor]:
        """See the class."""
        t = self.training
        condition = self.model.condition(batch["speakers"], batch["accents"])
        found = self._align(batch, condition, generator, step)
        out = {"kl": t.kl_weight * found.kl} | self._durations(found, condition, generator, step)
        wanted = t.end_to_end_weight or t.prior_share
        expected = self._expected(found, condition, t.end_to_end_noise, generator) if wanted else None
        out |= self._envelopes(batch, found, expected, condition)
        if step >= t.sound_from or (step < 0 and t.sound_from < NEVER):  # -1: all that will be kept in memory
            out |= self._sound(batch, found, expected, condition, generator, step)
        return out

    def _align(
        self, batch: dict[str, Any], condition: Tensor | None, generator: torch.Generator, step: int | None = None
    ) -> _Aligned:
        """The batch through encoder, posterior and flow, aligned; the search has the noise of `step`, None = none."""
        model, t = self.model, self.training
        prior = model.encode_text(text_of(batch), condition)
        mel = batch["mel"]
        mask = sequence_mask(batch["frames"], mel.shape[1])
        with torch.no_grad():
            heard = mel.transpose(1, 2) if self.config.posterior.input == "mel" else model.spectrogram(batch["audio"])
        mean, log_std = model.posterior(heard, mask, condition)
        z = sampled(mean, log_std, mask, generator)
        z_prior = model.flow(z, mask, condition)
        if t.alignment == TIMINGS:
            durations, place = batch["durations"], batch["place"]
        else:
            noise = 0.0 if step is None else max(t.search_noise - t.search_noise_decay * max(step, 0), 0.0)
            path = search(
                z_prior.detach(), prior.mean.detach(), prior.log_std.detach(), mask, prior.mask, noise, generator
            )
            durations, place = path.sum(1).long(), path.argmax(2)
        at_mean, at_log_std = gathered(prior.mean, place), gathered(prior.log_std, place)
        kl = kl_divergence(z_prior, log_std, at_mean, at_log_std, mask)
        return _Aligned(prior, mask, z, at_mean, at_log_std, durations, place, kl)

    def _durations(
        self, found: _Aligned, condition: Tensor | None, generator: torch.Generator, step: int
    ) -> dict[str, Tensor]:
        """Both predictors learn from a text encoder that they do not change (VITS, section 2.2.2)."""
        model, t, mask, out = self.model, self.training, found.prior.mask, {}
        hidden = found.prior.hidden.detach()
        heard = None if condition is None else condition.detach()
        durations = found.durations.unsqueeze(1).to(hidden)
        logs = (durations + LEAST).log() * mask
        predicted = None
        if model.stochastic is not None:
            loss = model.stochastic.loss(hidden, mask, durations, heard, generator)
            out["stochastic_duration"] = t.duration_weight * loss
        if model.deterministic is not None:
            predicted = model.deterministic(hidden, mask, heard)
            if t.duration_target == MEAN:
                error = (predicted.exp() - durations * predicted) / MEAN_FRAMES
            else:
                error = (predicted - logs).square()
            out["duration"] = t.duration_weight * (error * mask).sum() / mask.sum()
        if t.duration_adversarial_weight and self._adversary is not None and step >= t.duration_adversarial_from:
            if predicted is None and model.stochastic is not None:
                noise = torch.randn(len(mask), 2, mask.shape[2], generator=generator).to(hidden)
                predicted = model.stochastic.sample(hidden, mask, noise, heard)
            assert predicted is not None
            fake, real = stacked(hidden, mask, predicted * mask), stacked(hidden, mask, logs)
            adversary = self._adversary["durations"]
            out["_duration_discriminator"], adversarial, _ = adversary(fake, real)
            out["duration_adversarial"] = t.duration_adversarial_weight * adversarial
        return out

    def _expected(self, found: _Aligned, condition: Tensor | None, noise: float, generator: torch.Generator) -> Tensor:
        """(B, C, T) latents as synthesis draws them, at the true durations."""
        z = sampled(found.mean, found.log_std, found.mask, generator, noise)
        return self.model.flow(z, found.mask, condition, reverse=True)

    def _envelopes(
        self, batch: dict[str, Any], found: _Aligned, expected: Tensor | None, condition: Tensor | None
    ) -> dict[str, Tensor]:
        """Log-mel losses of the source-filter decoder, over all frames."""
        decoder, t = self.model.decoder, self.training
        if not isinstance(decoder, SourceFilterDecoder):
            return {}
        out = {}
        for name, weight, z in (
            ("envelope", t.envelope_weight, found.z),
            ("end_to_end", t.end_to_end_weight, expected),
        ):
            if weight and z is not None:
                error = (decoder.envelope(z, condition) - batch["mel"]).abs().mean(2) * found.mask[:, 0]
                out[name] = weight * self.config.audio.scale * error.sum() / found.mask.sum()
        return out

    def _sound(
        self,
        batch: dict[str, Any],
        found: _Aligned,
        expected: Tensor | None,
        condition: Tensor | None,
        generator: torch.Generator,
        step: int,
    ) -> dict[str, Tensor]:
        """Losses of a random segment of each utterance's sound (VITS, sections 2.1.2, 2.3)."""
        t, z, hop = self.training, found.z, self.config.audio.hop
        if expected is not None and t.prior_share:
            taken = torch.rand(len(z), 1, 1, generator=generator).to(z.device) < t.prior_share
            z = torch.where(taken, expected, z)
        length = min(t.segment, z.shape[2])
        room = (batch["frames"] - length).clamp_min(0).cpu()
        start = (torch.rand(len(z), generator=generator) * (room + 1)).long().to(z.device)
        real = cut(batch["audio"].unsqueeze(1), start * hop, length * hop)[:, 0]
        fake, pitch = self._decode(
            cut(z, start, length), condition, cut(batch["pitch"].unsqueeze(1), start, length)[:, 0], generator
        )
        spec = self.config.audio
        mel = (mel_spectrogram(fake, spec) - mel_spectrogram(real, spec)).abs().mean()
        out = {"mel": t.mel_weight * spec.scale * mel}
        if pitch is not None:
            out["pitch"] = t.pitch_weight * pitch
        if t.stft_weight:
            out["stft"] = t.stft_weight * stft_loss(fake, real)
        if self._adversary is not None and step >= t.adversarial_from:
            adversary = self._adversary["sound"]
            out["_discriminator"], adversarial, matching = adversary(fake, real)
            out |= {"adversarial": t.adversarial_weight * adversarial, "matching": t.matching_weight * matching}
        return out

    def _decode(
        self, z: Tensor, condition: Tensor | None, pitch: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor | None]:
        """Sound of latents (B, C, T), and the pitch predictor's loss; a known pitch (B, T) Hz replaces its own."""
        decoder = self.model.decoder
        if not isinstance(decoder, SourceFilterDecoder):
            return decoder(z, condition), None
        mel = decoder.envelope(z, condition)
        logits = decoder.generator.pitch(mel)
        predicted = decoder.generator.pitch.log_pitch(logits.detach())
        log_pitch = torch.where(pitch > 0, pitch.clamp_min(1.0).log(), predicted)
        noise = torch.randn(len(z), z.shape[2] * self.config.audio.hop, generator=generator).to(z)
        return decoder.generator(mel, noise, log_pitch), decoder.generator.pitch.loss(logits, pitch)

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """On held-out utterances: nats of `kl`, mel L1 (normalised log-mel) of the sound of the posterior's latents
        and, at the true durations, of the prior's (`spoken_mel_l1`, noise 0), and predicted over true length.
        """
        device, rows = next(self.model.parameters()).device, []
        for number in range(3):
            draws = torch.Generator().manual_seed(number)
            batch = self.batches.held_batch(number)
            batch = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in batch.items()}
            condition = self.model.condition(batch["speakers"], batch["accents"])
            found = self._align(batch, condition, draws)
            expected = self._expected(found, condition, 0.0, draws)
            frames = self._steady_frames(found.prior, condition)
            rows.append(
                {
                    "kl": float(found.kl),
                    "mel_l1": self._mel_l1(found.z, batch, condition, draws),
                    "spoken_mel_l1": self._mel_l1(expected, batch, condition, draws),
                    "tempo": float(frames.sum()) / max(float(found.durations.sum()), 1.0),
                }
            )
        return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}

    def _steady_frames(self, prior: Prior, condition: Tensor | None) -> Tensor:
        controls = Controls(noise_scale=0.0, noise_scale_w=0.0)
        return self.model.frames(
            self.model.log_durations(prior, condition, controls, torch.Generator()), prior.mask, 1.0
        )

    def _mel_l1(self, z: Tensor, batch: dict[str, Any], condition: Tensor | None, generator: torch.Generator) -> float:
        sounds = self.model.sound(z, batch["frames"], condition, generator)
        errors = []
        for sound, mel in zip(sounds, batch["mel"], strict=True):
            made = mel_spectrogram(sound, self.config.audio).T
            errors.append(float((made - mel[: len(made)]).abs().mean()))
        return float(np.mean(errors))

    @torch.no_grad()
    def samples(self, generator: torch.Generator) -> dict[str, Sample]:
        """A held-out utterance, what the model says of its text, and where its phones are in the true sound."""
        device = next(self.model.parameters()).device
        batch = self.batches.of(self.batches.held[:1], np.random.default_rng(0))
        batch = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in batch.items()}
        speakers, accents = batch["speakers"], batch["accents"]
        found = self._align(batch, self.model.condition(speakers, accents), generator)
        spoken = self.model.synthesise(text_of(batch), speakers, accents, Controls(), generator)[0].cpu()
        rate = self.config.audio.sample_rate
        return {
            "audio": Sound(batch["audio"][0].cpu().numpy(), rate),
            "spoken": Sound(spoken.numpy(), rate),
            "mel": Picture(batch["mel"][0].T.cpu().numpy()),
            "spoken_mel": Picture(mel_spectrogram(spoken, self.config.audio).numpy()),
            "alignment": Picture(F.one_hot(found.place[0].cpu()).T.numpy().astype(np.float32)),
        }

    def heaviest(self) -> int:
        """The batch that takes most memory: of the most sounds, for all have about as many positions."""
        return self.batches.heaviest()

    def judged(self) -> tuple[int, int]:
        """Sounds and frames of each that the discriminators get at once, at most."""
        return len(self.batch(self.heaviest())["ids"]), self.training.segment

    def meta(self) -> dict[str, Any]:
        """What the checkpoint says of itself."""
        known = symbols.meta()
        tables = {kind: list(getattr(self.config, kind)) for kind in ("speakers", "accents", "languages")}
        names = {**known["names"], **tables}  # type: ignore[dict-item]
        heard = {"bert": model_digest(self.training.bert)} if self.config.bert else {}
        return {"audio": self.config.audio.digest, **known, "names": names, "data": self.corpus.folder.name, **heard}

    def adversary(self) -> Adversaries | None:
        """Discriminators of sound and of durations with their optimizers; None when the run never uses them."""
        return self._adversary


def _adversary(config: VitsModelConfig, training: VitsTrainingConfig) -> Adversaries | None:
    if not training.adversarial_weight:
        return None
    judges: dict[str, torch.nn.Module] = {"sound": Discriminators(training.discriminators)}
    if training.duration_adversarial_weight:
        judges["durations"] = StackedDurations(DurationDiscriminator(config.hidden, training.duration_filter))
    return Adversaries(**{name: AdversarialLoss(judge, training.discriminator_lr) for name, judge in judges.items()})


def _numbers(corpus: Corpus, config: VitsModelConfig, training: VitsTrainingConfig) -> Numbers:
    """Tones and word vectors of the corpus, where the model reads them. Raises ConfigError."""
    tones = bert = None
    if config.tones:
        from stages.data.tones import tones_of

        tones = tones_of(corpus)
    if bool(config.bert) != bool(training.bert):
        raise ValueError("network.bert (how wide) and objective.bert (which encoder) go together")
    if config.bert:
        from stages.data.embeddings import text_embeddings

        bert = text_embeddings(corpus, training.bert)
        if bert.shape[1] != config.bert:
            raise ValueError(
                f"{training.bert}: its vectors have {bert.shape[1]} numbers; set network.bert={bert.shape[1]}"
            )
    return Numbers(tones, bert)


def _start_decoder(model: Vits, folder: str) -> None:
    """Puts a vocoder's weights into the source-filter decoder. Raises CheckpointError, ValueError."""
    if not isinstance(model.decoder, SourceFilterDecoder):
        raise ValueError(
            "objective.vocoder is for the source_filter decoder; set network.decoder.kind, or leave it out"
        )
    found = checkpoint.read(folder, "vocoder")
    checkpoint.require(found, "audio", model.config.audio.digest, "was trained on another AudioSpec")
    own = model.decoder.generator.state_dict()
    given = {k.removeprefix("generator."): v for k, v in found.tensors.items()}
    if {k: v.shape for k, v in own.items()} != {k: v.shape for k, v in given.items()}:
        raise checkpoint.CheckpointError(
            f"{folder}: has other sizes than this decoder; give network.decoder.source_filter those of its config.yaml"
        )
    model.decoder.generator.load_state_dict(given)


def text_of(batch: dict[str, Any]) -> TextInput:
    """The text part of a batch."""
    return TextInput(batch["symbols"], batch["phones"], batch.get("tones"), batch.get("languages"), batch.get("bert"))

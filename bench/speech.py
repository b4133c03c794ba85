"""Text to speech, heard by a recogniser that had no part in it.

    python bench/speech.py --save

flite speaks sentences of a closed grammar of about 1,300 words (`speech_words.py`) in four voices; every tenth word is
never in a training sentence. A vocoder (`um.recipe.vocoder`) and a model of speech (`um.recipe.speech`) learn from
them, --minutes in all. pocketsphinx, whose acoustic model has heard neither, writes down what it hears of sentences
that were not in training:

    open slots    word error over the open slots of the grammar, which the recogniser knows: `the` is given away
    free          word error over all words, with the recogniser's own language model of English

The arms:

    original              flite itself
    mel, Griffin-Lim      its mel frames and back
    mel, vocoder          its mel frames, and the vocoder that was trained
    another text          the model's speech, beside what another sentence says: what the grammar gives away
    regression            the same network without noise, trained as many steps by the absolute error of its frames
    N steps               the model
    prompt                the model without a voice's name, going on from a recording of the voice
    student N             a student of few steps (--student)

A linear classifier of voices, trained on mel frames of originals, says whose voice it is. The real-time factor is the
processor time of sampling and decoding on one thread, for a second of sound. What was trained and measured is kept in
--work: the same command goes on after an interruption. flite must be installed, and pocketsphinx:
pip install pocketsphinx==5.1.1.
"""

import argparse
import hashlib
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import speech_words
import timing
import torch
from few_steps import Measured
from speech_listener import Listener, dictionary, open_words, rate
from torch import Tensor

import unmelt as um
from unmelt.backbone import SpeechDiT
from unmelt.codec import Vocoder

VOICES = ("slt", "rms", "awb", "kal16")
SETS = ("known", "unseen")
RATE = 16_000


def flite() -> str:
    found = shutil.which("flite")
    if found is None:
        raise SystemExit("flite is not installed; it speaks the corpus: apt-get install flite")
    return found


def speak(jobs: Sequence[tuple[Path, str, str]]) -> None:
    """Have flite speak texts into files that are not there yet."""
    program = flite()

    def one(job: tuple[Path, str, str]) -> None:
        path, voice, text = job
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part")
            subprocess.run([program, "-voice", voice, "-t", text, "-o", str(part)], check=True)
            part.replace(path)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(one, jobs))


def corpus(options: argparse.Namespace) -> Path:
    """The folder of training sentences in LJSpeech's layout, a folder a voice."""
    rng, chosen = random.Random(1), speech_words.words(dictionary())
    texts = {voice: [speech_words.sentence(chosen.known, rng) for _ in range(options.sentences)] for voice in VOICES}
    folder = options.work / f"corpus-{digest(texts)}"
    for voice, said in texts.items():
        (folder / voice).mkdir(parents=True, exist_ok=True)
        lines = [f"{number:05d}|{text}" for number, text in enumerate(said)]
        (folder / voice / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    numbered = [(voice, number, text) for voice, said in texts.items() for number, text in enumerate(said)]
    speak([(folder / voice / "wavs" / f"{number:05d}.wav", voice, text) for voice, number, text in numbered])
    return folder


def digest(value: Any) -> str:
    """A few digits that tell one list of sentences from another: a recording stays that of its text."""
    return hashlib.sha256(repr(value).encode()).hexdigest()[:8]


@dataclass(frozen=True)
class Asked:
    """Sentences to be said that were not in training, and by whom."""

    texts: list[str]
    voices: list[str]


def asked(name: str, options: argparse.Namespace) -> Asked:
    chosen, rng = speech_words.words(dictionary()), random.Random(f"test {name}")
    # Of the small kinds there is no unseen word, or few: those of training stand in.
    pool = {kind: list(chosen.known[kind]) for kind in chosen.known}
    if name == "unseen":
        pool |= {kind: chosen.unseen[kind] for kind in ("NOUN", "ADJECTIVE", "VERB")}
    texts = [speech_words.sentence(pool, rng) for _ in range(options.tests)]
    return Asked(texts, [VOICES[k % len(VOICES)] for k in range(options.tests)])


def originals(name: str, options: argparse.Namespace) -> list[Tensor]:
    said = asked(name, options)
    folder = options.work / f"test-{digest(said)}"
    paths = [folder / f"{k:04d}-{voice}.wav" for k, voice in enumerate(said.voices)]
    speak(list(zip(paths, said.voices, said.texts, strict=True)))
    return [um.data.read_sound(path).samples for path in paths]


class Voices:
    """A linear classifier of voices, on means and deviations of mel frames."""

    def __init__(self, source: um.data.Recordings, mel: um.codec.Mel) -> None:
        items = torch.randperm(len(source), generator=torch.Generator().manual_seed(0))[:400].tolist()
        self.mel = mel
        features = torch.stack([self._features(source.sound(item)[None]) for item in items])
        self.centre, self.size = features.mean(0), features.std(0) + 1e-3
        x = torch.cat([(features - self.centre) / self.size, torch.ones(len(items), 1)], 1)
        wanted = torch.eye(len(source.classes))[source.labels[items]]
        self.weight = torch.linalg.solve(x.T @ x + 5.0 * torch.eye(x.shape[1]), x.T @ wanted)
        self.names = source.classes

    def _features(self, x: Tensor) -> Tensor:
        z = self.mel.encode(x[None])[0]
        return torch.cat([z.mean(0), z.std(0)])

    def right(self, sounds: Sequence[Tensor], voices: Sequence[str]) -> float:
        x = (torch.stack([self._features(each) for each in sounds]) - self.centre) / self.size
        found = (torch.cat([x, torch.ones(len(x), 1)], 1) @ self.weight).argmax(1).tolist()
        return sum(self.names[each] == voice for each, voice in zip(found, voices, strict=True)) / len(sounds)


@final
@um.config.register
@dataclass(frozen=True, kw_only=True)
class AbsoluteError:
    """The network without noise: the absolute error of frames that it makes of zeros."""

    drop: float = 0.0

    def __call__(self, denoiser: Any, x0: Tensor, condition: Any, rng: Any) -> Tensor:
        made = denoiser(torch.zeros_like(x0), torch.ones(len(x0), dtype=torch.float64), condition).mean
        return (made - x0).abs().sum((1, 2)) / (condition.x_mask.sum(1) * x0.shape[2])


def steps_in(minutes: float, make: Callable[[int], Any], measured: Measured, key: str) -> int:
    """Training steps that fit in a time, measured once."""

    def measure() -> dict[str, Any]:
        make(3).fit(quiet=True)  # warm
        began = time.perf_counter()
        make(13).fit(quiet=True)
        return {"seconds": (time.perf_counter() - began) / 13}

    return max(20, int(60 * minutes / measured(f"{key} step", measure)["seconds"]))


def trained(place: Path, make: Callable[[int], Any], steps: int) -> Any:
    """A model trained to its last step, from where it was left."""
    if not (place / "config.json").exists() or um.load(place).steps_done < steps:
        make(steps).fit(place)
    return um.recipe.with_data(place)


def models(options: argparse.Namespace, measured: Measured) -> dict[str, Any]:
    folder, minutes = corpus(options), options.minutes

    def vocoder(steps: int) -> Any:
        return um.recipe.vocoder(folder=folder, steps=steps, held_out=0.02, picture_every=0, save_every=100)

    def speech(steps: int) -> Any:
        settings: dict[str, Any] = {"width": options.width, "depth": options.depth, "batch": options.batch}
        return um.recipe.speech(
            folder=folder,
            vocoder=options.work / "vocoder",
            steps=steps,
            held_out=0.02,
            picture_every=0,
            save_every=100,
            **settings,
        )

    def regression(steps: int) -> Any:
        made = speech(steps)
        made.objective, made.origin = AbsoluteError(), {}
        made.training = replace(made.training, seed=1)
        return made

    found = {}
    share = options.vocoder_share
    found["vocoder"] = trained(
        options.work / "vocoder", vocoder, steps_in(share * minutes, vocoder, measured, "vocoder")
    )
    steps = steps_in((1 - share) * minutes, speech, measured, "speech")
    found["speech"] = trained(options.work / "speech", speech, steps)
    if options.regression:
        place = options.work / "regression"
        if not (place / "config.json").exists() or um.load(place).steps_done < steps:
            regression(steps).fit(place)
        found["regression"] = um.load(place)
    if options.student:
        place = options.work / f"student-{options.student}"
        found["student"] = found["speech"].distill(
            um.distill.Consistency(),
            steps=options.student,
            out=place,
            guidance_range=(1.0, 4.0),
            training_steps=max(20, steps // 3),
        )
    return found


def regressed(model: um.SpeechModel, texts: list[str], voices: list[str]) -> list[Tensor]:
    """What the regression says: one network call."""
    sounds = []
    for text, voice in zip(texts, voices, strict=True):
        wanted = model.speech_request(text, voice=voice)
        x = torch.zeros(1, *wanted.request.shape)
        with torch.no_grad():
            z = model.denoiser(x, torch.ones(1, dtype=torch.float64), wanted.request.condition).mean
        sounds.append(model.decode(z)[0])
    return sounds


def prompted(model: um.SpeechModel, said: Asked, source: um.data.Recordings, **settings: Any) -> list[Tensor]:
    """Each text by the voice of a training recording, which is given as a recording and not by name."""
    rng, sounds = random.Random(3), []
    for text, voice in zip(said.texts, said.voices, strict=True):
        items = (source.labels == source.classes.index(voice)).nonzero()[:, 0].tolist()
        item = rng.choice(items)
        prompt = {"prompt": source.sound(item), "prompt_text": source.texts[item]}
        sounds += model.sample(text, **prompt, **settings)
    return sounds


def arms(options: argparse.Namespace, found: dict[str, Any], name: str) -> dict[str, Callable[[], list[Tensor]]]:
    said, model, vocoder = asked(name, options), found["speech"], found["vocoder"].codec
    assert isinstance(vocoder, Vocoder)

    def again(codec: Any) -> Callable[[], list[Tensor]]:
        with torch.no_grad():
            return lambda: [codec.decode(codec.encode(x[None]))[0].detach() for x in originals(name, options)]

    def sampled(steps: int, guidance: float) -> Callable[[], list[Tensor]]:
        settings: dict[str, Any] = {"voice": said.voices, "guidance": guidance, "steps": steps, "seed": 5}
        return lambda: model.sample(said.texts, **settings)

    scale = options.guidance
    made = {"original": lambda: originals(name, options)}
    made |= {"mel, Griffin-Lim": again(vocoder.mel), "mel, vocoder": again(vocoder)}
    if "regression" in found:
        made["regression"] = lambda: regressed(found["regression"], said.texts, said.voices)
    made |= {f"{steps} steps": sampled(steps, scale) for steps in options.steps}
    made["8 steps, unguided"] = sampled(8, 1.0)
    if name == "known":
        made["prompt"] = lambda: prompted(model, said, model.source, guidance=scale, steps=8, seed=5)
    if "student" in found:
        student = found["student"]
        settings: dict[str, Any] = {"voice": said.voices, "guidance": scale, "seed": 5}
        made[f"student {options.student}"] = lambda: student.sample(said.texts, **settings)
    return made


def judge(options: argparse.Namespace, measured: Measured) -> list[dict[str, Any]]:
    found, rows = models(options, measured), []
    listener, model = Listener(), found["speech"]
    voices = Voices(model.source, found["vocoder"].codec.mel)
    key = f"{model.run[:8]} {options.tests} {options.guidance:g}"
    for name in SETS:
        said = asked(name, options)
        for arm, make in arms(options, found, name).items():

            def measure(make: Callable[[], list[Tensor]] = make, said: Asked = said, arm: str = arm) -> dict[str, Any]:
                threads = torch.get_num_threads()
                torch.set_num_threads(1)
                began = time.process_time()
                sounds = make()
                seconds = time.process_time() - began
                torch.set_num_threads(threads)
                slots = [listener.slots(each) for each in sounds]
                wanted = [open_words(text) for text in said.texts]
                free = options.free
                result = {
                    "open": rate(wanted, slots),
                    "another": rate(wanted, [*slots[1:], slots[0]]),
                    "voice": voices.right(sounds, said.voices),
                    "real_time": seconds * RATE / sum(each.shape[-1] for each in sounds),
                }
                if free:
                    texts = [text.split() for text in said.texts[:free]]
                    result["free"] = rate(texts, [listener.words(each) for each in sounds[:free]])
                return result

            result = measured(f"{key} {name} {arm}", measure)
            row = {
                "arm": arm,
                "set": name,
                **{each: result.get(each) for each in ("open", "free", "voice", "real_time")},
            }
            if arm == "original":
                row["real_time"] = None
            rows.append(row)
            print(f"{name} {arm}: {result['open']:.3f}", flush=True)
            if arm == f"{max(options.steps)} steps":
                rows.append({"arm": "another text", "set": name, "open": result["another"]})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=25.0, help="of training, vocoder included")
    parser.add_argument("--vocoder-share", type=float, default=0.2, help="of these minutes that the vocoder gets")
    parser.add_argument("--sentences", type=int, default=600, help="training sentences of each voice")
    parser.add_argument("--tests", type=int, default=60, help="sentences of each test")
    parser.add_argument("--free", type=int, default=20, help="of these, those that are also heard without the grammar")
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--depth", type=int, default=5)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--steps", type=int, nargs="+", default=[4, 8, 16])
    parser.add_argument("--regression", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--student", type=int, default=0, help="also distil a student of so many steps")
    parser.add_argument("--work", type=Path, default=Path("runs/speech"))
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--save", action="store_true", help="also write bench/results/speech.json and .md")
    options, start = parser.parse_args(), time.perf_counter()
    options.work.mkdir(parents=True, exist_ok=True)
    measured = Measured(options.work / "measured.jsonl")
    rows = judge(options, measured)
    columns = [("arm", "arm", ""), ("set", "words", ""), ("open", "word error, open slots", ".3f")]
    columns += [("free", "word error, free", ".3f"), ("voice", "voice right", ".2f"), ("real_time", "real time", ".3f")]
    report = timing.Report("speech", "Speech of a model, heard by a recogniser", columns, rows)
    model = um.load(options.work / "speech")
    assert isinstance(model.denoiser.backbone, SpeechDiT)
    parameters = sum(each.numel() for each in model.denoiser.parameters())
    report.found = {
        "words": speech_words.words(dictionary()).count,
        "parameters": parameters,
        "training_steps": model.steps_done,
        "vocoder": um.recipe.with_data(options.work / "vocoder").evaluate(),
    }
    report.notes.append(
        f"{options.tests} sentences a set, {options.free} heard freely; {report.found['words']:,} words; "
        f"{parameters:,} parameters, {model.steps_done:,} steps in {options.minutes:g} minutes with the vocoder; "
        f"guidance {options.guidance:g}"
    )
    timing.publish(report, options, time.perf_counter() - start)


if __name__ == "__main__":
    main()

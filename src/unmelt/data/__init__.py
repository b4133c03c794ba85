"""Data: files, arrays and generators as sources of batches."""

from typing import TYPE_CHECKING

from unmelt.public_names import publish

if TYPE_CHECKING:
    from unmelt.data.aspect_ratio_buckets import AspectRatioBuckets, bucket_sizes
    from unmelt.data.bouncing_balls import BallsState, BouncingBalls, centre_of_light, track_balls
    from unmelt.data.chorale_grid import chorale_grid, chorale_text
    from unmelt.data.chorales import Chorale, ChoraleWindows, chorale_windows, chorales, read_chorale, split_chorales
    from unmelt.data.controlled import Controlled
    from unmelt.data.digits import digits
    from unmelt.data.disc_rows import DiscRows, PointState, route_entropy
    from unmelt.data.emoji import draw_emoji
    from unmelt.data.encoded import Encoded, encoded
    from unmelt.data.episode_files import read_episodes, save_episodes
    from unmelt.data.episode_windows import ActionChunks, FrameWindows
    from unmelt.data.episodes import Episode, Episodes
    from unmelt.data.excerpts import Excerpts
    from unmelt.data.fill_in_the_middle import FillInTheMiddle
    from unmelt.data.images import Report, image_buckets, images
    from unmelt.data.midi import midi_bytes
    from unmelt.data.organ import organ
    from unmelt.data.paddle import PaddleGame, PaddleState
    from unmelt.data.prefetcher import Prefetcher
    from unmelt.data.python_source import python_source
    from unmelt.data.questions import GAP_MARKER, Questions
    from unmelt.data.recordings import Recordings, recordings
    from unmelt.data.resample import resample
    from unmelt.data.reversal_facts import reversal_facts
    from unmelt.data.scenes import CaptionedScene, Scenes, draw_scenes
    from unmelt.data.source import Arrays, CaptionReader, Source, SourceOfShapes, for_batches_of
    from unmelt.data.speech_batches import SpeechBatches
    from unmelt.data.sudoku import Sudoku
    from unmelt.data.text import Document, documents, pack_tokens, split_documents
    from unmelt.data.toy import Checkerboard, Moons, Ring, Spirals, Toy, TwoModes
    from unmelt.data.wav import Waveform, parse_wav, read_sound, wav_bytes

__all__ = [
    "GAP_MARKER",
    "ActionChunks",
    "Arrays",
    "AspectRatioBuckets",
    "BallsState",
    "BouncingBalls",
    "CaptionReader",
    "CaptionedScene",
    "Checkerboard",
    "Chorale",
    "ChoraleWindows",
    "Controlled",
    "DiscRows",
    "Document",
    "Encoded",
    "Episode",
    "Episodes",
    "Excerpts",
    "FillInTheMiddle",
    "FrameWindows",
    "Moons",
    "PaddleGame",
    "PaddleState",
    "PointState",
    "Prefetcher",
    "Questions",
    "Recordings",
    "Report",
    "Ring",
    "Scenes",
    "Source",
    "SourceOfShapes",
    "SpeechBatches",
    "Spirals",
    "Sudoku",
    "Toy",
    "TwoModes",
    "Waveform",
    "bucket_sizes",
    "centre_of_light",
    "chorale_grid",
    "chorale_text",
    "chorale_windows",
    "chorales",
    "digits",
    "documents",
    "draw_emoji",
    "draw_scenes",
    "encoded",
    "for_batches_of",
    "image_buckets",
    "images",
    "midi_bytes",
    "organ",
    "pack_tokens",
    "parse_wav",
    "python_source",
    "read_chorale",
    "read_episodes",
    "read_sound",
    "recordings",
    "resample",
    "reversal_facts",
    "route_entropy",
    "save_episodes",
    "split_chorales",
    "split_documents",
    "track_balls",
    "wav_bytes",
]

publish(__name__)

"""Moments as XML for Final Cut Pro (FCPXML) and, in the form of Final Cut Pro 7 (xmeml), for Premiere and others."""

from collections import Counter
from collections.abc import Iterable, Sequence
from fractions import Fraction
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from gmmformer.media.films import printable
from gmmformer.web.placing import TITLE, Counting, Placed, address, film_name

_USUAL_SIZE, _USUAL_SAMPLES = (1920, 1080), 48_000
_CLIP, _FILE = "clipitem-", "file-"


def fcpx_text(clips: Sequence[Placed]) -> str:
    """The clips as a project of Final Cut Pro: FCPXML 1.8, which DaVinci Resolve reads too."""
    timeline = clips[0].timeline
    root = Element("fcpxml", version="1.8")
    resources = SubElement(root, "resources")
    formats: dict[tuple[Counting, tuple[int, int]], str] = {}

    def format_of(counting: Counting, size: tuple[int, int]) -> str:
        key = (counting._replace(drop=False), size)
        if key not in formats:
            formats[key] = f"f{len(formats) + 1}"
            duration = _seconds(1, counting)
            SubElement(
                resources, "format", id=formats[key], frameDuration=duration, width=f"{size[0]}", height=f"{size[1]}"
            )
        return formats[key]

    main = format_of(timeline, _most_common_size(clips))
    assets: dict[int, str] = {}
    for clip in _longest_of_each_film(clips):
        identity = assets[clip.one.film.id] = f"a{len(assets) + 1}"
        _fcpx_asset(resources, identity, clip, format_of(clip.own, _size(clip)))
    event = SubElement(SubElement(root, "library"), "event", name=TITLE)
    total = clips[-1].record + clips[-1].frames
    sequence = SubElement(
        SubElement(event, "project", name=TITLE),
        "sequence",
        format=main,
        duration=_seconds(total, timeline),
        tcStart="0s",
        tcFormat=_code_form(timeline),
        audioLayout="stereo",
        audioRate="48k",
    )
    spine = SubElement(sequence, "spine")
    for clip in clips:
        _fcpx_clip(spine, assets[clip.one.film.id], clip)
    return _text(root, "fcpxml")


def _fcpx_asset(resources: Element, identity: str, clip: Placed, kind: str) -> None:
    asset = SubElement(
        resources,
        "asset",
        id=identity,
        name=film_name(clip.one.film),
        src=address(clip.path),
        start=_seconds(clip.own.frame(clip.code), clip.own),
        duration=_seconds(clip.length, clip.own),
        hasVideo="1",
        format=kind,
    )
    if clip.sounds:
        asset.set("hasAudio", "1")
        asset.set("audioSources", str(len(clip.sounds)))
        asset.set("audioChannels", str(max(sound.channels for sound in clip.sounds)))
        asset.set("audioRate", str(_samples(clip)))
    if clip.reel is not None:
        SubElement(SubElement(asset, "metadata"), "md", key="com.apple.proapps.studio.reel", value=clip.reel)


def _fcpx_clip(spine: Element, asset: str, clip: Placed) -> None:
    zero = Fraction(clip.own.frame(clip.code) + clip.source(clip.own)[0]) / clip.own.rate
    made = SubElement(
        spine,
        "asset-clip",
        ref=asset,
        name=clip.name,
        offset=_seconds(clip.record, clip.timeline),
        start=_time(zero),
        duration=_seconds(clip.frames, clip.timeline),
        tcFormat=_code_form(clip.own),
    )
    if clip.sounds:
        made.set("audioRole", "dialogue")
    if clip.one.note:
        SubElement(made, "note").text = printable(clip.one.note)
    begins, lasts = clip.moment
    SubElement(
        made,
        "marker",
        start=_time(zero + begins / clip.timeline.rate),
        duration=_seconds(lasts, clip.timeline),
        value=clip.told,
        note=printable(clip.one.note),
    )


def fcp7_text(clips: Sequence[Placed]) -> str:
    """The clips as a sequence of Final Cut Pro 7: what Premiere Pro calls Final Cut Pro XML."""
    timeline = clips[0].timeline
    root = Element("xmeml", version="5")
    sequence = SubElement(root, "sequence", id="sequence-1")
    total = clips[-1].record + clips[-1].frames
    _fill(sequence, name=TITLE, duration=total)
    _rate(sequence, timeline)
    _code(sequence, timeline, 0)
    media = SubElement(sequence, "media")
    video, audio = SubElement(media, "video"), SubElement(media, "audio")
    width, height = _most_common_size(clips)
    characteristics = SubElement(SubElement(video, "format"), "samplecharacteristics")
    _fill(characteristics, width=width, height=height, pixelaspectratio="square")
    _rate(characteristics, timeline)
    _fill(SubElement(SubElement(audio, "format"), "samplecharacteristics"), depth=16, samplerate=_USUAL_SAMPLES)
    tracks = [SubElement(video, "track")]
    tracks += [SubElement(audio, "track") for _ in range(max(map(_channels, clips)))]
    files: dict[int, str] = {}
    longest = {clip.one.film.id: clip for clip in _longest_of_each_film(clips)}
    for number, clip in enumerate(clips, 1):
        used = tracks[: 1 + _channels(clip)]
        places = [len(track) + 1 for track in used]
        for channel, track in enumerate(used):
            item = SubElement(track, "clipitem", id=_item_name(number, channel))
            _fcp7_item(item, clip)
            known = clip.one.film.id in files
            file = SubElement(item, "file", id=files.setdefault(clip.one.film.id, f"{_FILE}{len(files) + 1}"))
            if not known:
                _fcp7_file(file, longest[clip.one.film.id])
            if channel:
                _fill(SubElement(item, "sourcetrack"), mediatype="audio", trackindex=channel)
            else:
                _fcp7_marker(item, clip)
            for other, place in enumerate(places if len(places) > 1 else []):
                link = SubElement(item, "link")
                kind, index = ("audio", other) if other else ("video", 1)
                _fill(link, linkclipref=_item_name(number, other), mediatype=kind, trackindex=index, clipindex=place)
            if clip.one.note:
                _fill(SubElement(item, "logginginfo"), lognote=printable(clip.one.note))
    return _text(root, "xmeml")


def _fcp7_item(item: Element, clip: Placed) -> None:
    first, last = clip.source(clip.own)
    _fill(item, name=clip.name, enabled="TRUE", duration=clip.length)
    _rate(item, clip.own)
    ends = clip.record + clip.frames
    for name, value in (("start", clip.record), ("end", ends), ("in", first), ("out", last)):
        SubElement(item, name).text = str(value)


def _fcp7_file(file: Element, clip: Placed) -> None:
    url = address(clip.path)
    local = url.replace("file:///", "file://localhost/", 1)
    _fill(file, name=film_name(clip.one.film), pathurl=local)
    _rate(file, clip.own)
    _fill(file, duration=clip.length)
    code = _code(file, clip.own, clip.own.frame(clip.code))
    if clip.reel is not None:
        _fill(SubElement(code, "reel"), name=clip.reel)
    media = SubElement(file, "media")
    characteristics = SubElement(SubElement(media, "video"), "samplecharacteristics")
    _fill(characteristics, width=_size(clip)[0], height=_size(clip)[1])
    for sound in clip.sounds:
        audio = SubElement(media, "audio")
        _fill(SubElement(audio, "samplecharacteristics"), depth=16, samplerate=sound.rate or _USUAL_SAMPLES)
        _fill(audio, channelcount=sound.channels)


def _fcp7_marker(item: Element, clip: Placed) -> None:
    begins, ends = clip.own.span(clip.one.start, clip.one.end)
    marker = SubElement(item, "marker")
    _fill(marker, name=clip.told, comment=printable(clip.one.note))
    SubElement(marker, "in").text, SubElement(marker, "out").text = str(begins), str(ends)


def _item_name(number: int, channel: int) -> str:
    return f"{_CLIP}{number}" + (f"-{channel}" if channel else "")


def _fill(element: Element, **texts: object) -> None:
    for name, value in texts.items():
        SubElement(element, name).text = str(value)


def _rate(element: Element, counting: Counting) -> None:
    _fill(SubElement(element, "rate"), timebase=counting.nominal, ntsc=str(counting.rate.denominator != 1).upper())


def _code(element: Element, counting: Counting, frame: int) -> Element:
    code = SubElement(element, "timecode")
    _rate(code, counting)
    _fill(code, string=counting.label(frame), frame=frame, displayformat=_code_form(counting))
    return code


def _code_form(counting: Counting) -> str:
    return "DF" if counting.drop else "NDF"


def _seconds(frames: int, counting: Counting) -> str:
    return _time(frames / counting.rate)


def _time(seconds: Fraction) -> str:
    whole = seconds.denominator == 1
    return f"{seconds.numerator}s" if whole else f"{seconds.numerator}/{seconds.denominator}s"


def _channels(clip: Placed) -> int:
    return sum(sound.channels for sound in clip.sounds)


def _samples(clip: Placed) -> int:
    return next((sound.rate for sound in clip.sounds if sound.rate), _USUAL_SAMPLES)


def _size(clip: Placed) -> tuple[int, int]:
    return (clip.one.info.width, clip.one.info.height) if clip.one.info else _USUAL_SIZE


def _most_common_size(clips: Iterable[Placed]) -> tuple[int, int]:
    return Counter(map(_size, clips)).most_common(1)[0][0]


def _longest_of_each_film(clips: Iterable[Placed]) -> Iterable[Placed]:
    """For each film the clip that takes it to be longest: a moment may go beyond the length that is known."""
    films: dict[int, Placed] = {}
    for clip in clips:
        films[clip.one.film.id] = max(films.get(clip.one.film.id, clip), clip, key=lambda one: one.length)
    return films.values()


def _text(root: Element, kind: str) -> str:
    ElementTree.indent(root)
    declared = f'<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE {kind}>\n'
    return declared + ElementTree.tostring(root, encoding="unicode") + "\n"

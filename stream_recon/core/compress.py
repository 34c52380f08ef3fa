"""Texts that are kept for long, kept small: JSON of discrepancies and events, compressed against a dictionary of such.

Short texts say little that the dictionary does not: a recorded fill of 320 or 390 bytes takes 80 or 170, a discrepancy
of 1,400 some 150, more where accounts and ids are long. It takes 2 to 3 us, and 1 to 2 to read.
"""

from __future__ import annotations

import zstandard

from stream_recon.data import state_dictionary

_DICTIONARY = zstandard.ZstdCompressionDict(state_dictionary(), dict_type=zstandard.DICT_TYPE_FULLDICT)
"""Part of the format of the state: with another one, what was written before cannot be read. Texts name it, by id."""
_LEVEL = 3
_DICTIONARY.precompute_compress(level=_LEVEL)
_FORM = zstandard.ZstdCompressionParameters.from_level(
    _LEVEL, format=zstandard.FORMAT_ZSTD1_MAGICLESS, write_content_size=True, write_dict_id=True
)
_compressors: list[zstandard.ZstdCompressor] = []
_decompressors: list[zstandard.ZstdDecompressor] = []
"""Those not in use: each may be used by one thread at a time."""


class UnreadableError(ValueError):
    """It was not compressed, or against another dictionary."""


def compress(text: bytes) -> bytes:
    """The text, small."""
    try:
        one = _compressors.pop()
    except IndexError:
        one = zstandard.ZstdCompressor(dict_data=_DICTIONARY, compression_params=_FORM)
    small = one.compress(text)
    _compressors.append(one)
    return small


def decompress(small: bytes) -> bytes:
    """The text that was compressed.

    Raises:
        UnreadableError: it was not, or against another dictionary.
    """
    try:
        one = _decompressors.pop()
    except IndexError:
        one = zstandard.ZstdDecompressor(dict_data=_DICTIONARY, format=zstandard.FORMAT_ZSTD1_MAGICLESS)
    try:
        return one.decompress(small)
    except zstandard.ZstdError as error:
        raise UnreadableError(str(error)) from error
    finally:
        _decompressors.append(one)

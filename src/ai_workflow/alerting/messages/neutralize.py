"""Neutralized text, in which no vendor detects a mention, a command or a link.

A word joiner (U+2060) is inserted after each character that would open one. It is invisible, joins words without a gap,
and is no letter of a user name, hashtag, command or host name.
"""

from __future__ import annotations

import re

JOINER = "\u2060"
_OPENERS = re.compile(
    r"""
    @                                           # @user, @everyone, user@host
    | \#(?=\S)                                  # hashtags, channels, rooms
    | (?<![A-Za-z0-9])/(?=\w)                   # bot commands
    | (?<![A-Za-z0-9])\$(?=[A-Za-z])            # cashtags
    | (?<![A-Za-z0-9])~(?=\w)                   # channels of Mattermost
    | (?<![A-Za-z0-9])\+(?=\d[\d\ ().-]{5})     # telephone numbers
    | :(?=//)                                   # URLs with any scheme
    # URIs without slashes.
    | (?<![A-Za-z0-9])(?:mailto|tel|sip|sms|xmpp|geo|magnet|javascript|data):
    | (?<=\w)[.\u3002\uff0e\uff61](?=[^\W\d_]{2})   # host names; the dots of IDNA
    """,
    re.VERBOSE | re.IGNORECASE,
)
# Markup openers without an escape sequence: <!channel>, <@id>, [text](url), (met)id(met), [CQ:at,qq=id].
_BRACKETS = re.compile(r"<|\](?=\s*[(\[:])|\((?=(?:met|rol|chn)\))|\[(?=CQ:)", re.IGNORECASE)


def neutralize(text: str) -> str:
    """Return the text without mentions, commands and links; markup must be escaped separately."""
    return _OPENERS.sub(rf"\g<0>{JOINER}", text)


def neutralize_all(text: str) -> str:
    """Return the text without mentions, commands, links and markup, for a vendor with unknown markup."""
    return _BRACKETS.sub(rf"\g<0>{JOINER}", neutralize(text))

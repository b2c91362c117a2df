# SPDX-License-Identifier: Apache-2.0
"""An HTTPS server on loopback that answers like OpenAI (chat completions), Anthropic (messages), and others.

It is written from the wire formats alone and shares no code with the decoders: it only composes. What it sent and
received stands in its log, one JSON object per exchange, so that events can be compared with it field by field.

Clients reach it unchanged: it is also an HTTP proxy that takes CONNECT for any host, answers for that host itself under
a certificate authority made for this run, and never forwards anything.
"""

from oisp_sensor.demo.double.client import Double, running

__all__ = ["Double", "running"]

# SPDX-License-Identifier: Apache-2.0
"""The words of verdicts, in the order of their numbers."""

from __future__ import annotations

__all__ = [
    "ACCOUNT_TYPES",
    "AUTH_TYPES",
    "DETECTION_METHODS",
    "EVIDENCE",
    "KINDS",
    "LEVELS",
    "METHODS",
    "PROVIDER_NAMES",
    "REQUEST_TYPES",
]

# The contract's enums, in its order; 0 is "absent" (contract.h). A test compares them with the header.
PROVIDER_NAMES = (
    "openai", "anthropic", "google", "azure_openai", "aws_bedrock", "cohere", "mistral", "groq", "together",
    "fireworks", "replicate", "huggingface", "ollama", "lmstudio", "vllm", "other",
)  # fmt: skip
AUTH_TYPES = ("api_key", "oauth", "service_account", "session", "none", "unknown")
ACCOUNT_TYPES = ("personal", "corporate", "shared", "unknown")
REQUEST_TYPES = ("chat", "completion", "embedding", "image", "audio", "moderation", "other")
KINDS = ("chat", "completion", "embedding", "image", "audio", "moderation", "rerank", "rag", "mcp", "count", "other")
LEVELS = ("high", "medium", "low", "inferred")
DETECTION_METHODS = (
    "known_endpoint", "payload_inspection", "header_fingerprint", "content_pattern", "model_string_match", "heuristic",
    "vendor_reported",
)  # fmt: skip
EVIDENCE = ("host", "path", "header", "key", "body", "response", "model", "port", "never", "pathless")
METHODS = {"GET": 1, "POST": 2, "PUT": 4, "PATCH": 8, "DELETE": 16, "CONNECT": 32}

"""Traces: spans by OpenTelemetry's SDK, kept in the process for ``sage trace`` and sent to a collector.

Nothing imports ``tracer`` before the settings ask for traces: it loads the SDK.
"""

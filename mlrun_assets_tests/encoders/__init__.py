"""Tests of the room where a model name becomes a model."""

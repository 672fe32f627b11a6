"""Benchmarks of the field, one module a protocol; `sam_audio.evaluation.bench.driver` knows them all."""

"""Measurements, beside what they are compared with, in the same run. Never asserted in a test."""

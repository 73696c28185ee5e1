"""Tests of `bench`: that its figures are what they say."""

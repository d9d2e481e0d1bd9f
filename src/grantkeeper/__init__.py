"""Grantkeeper: the OAuth2 connections service that people host themselves."""

__version__ = "0.1.0"

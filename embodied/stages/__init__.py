"""The stages: each reads files and writes files, so each can be run, resumed and replaced alone."""

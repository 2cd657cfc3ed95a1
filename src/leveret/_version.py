"""The version, in one place: the package, its metadata and the broker's greeting read it here."""

VERSION = "0.1.0"

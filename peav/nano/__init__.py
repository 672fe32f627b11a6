"""The embedded family: small towers trained by this project and shipped with the package."""

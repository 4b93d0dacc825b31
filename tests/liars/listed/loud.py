"""Speaks."""

print("thank you for installing this plugin")

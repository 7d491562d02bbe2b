"""Other formats, both ways: files become sequences and topics become files, without losing a value."""

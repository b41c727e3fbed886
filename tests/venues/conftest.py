"""Its place puts the kit beside it (`loopback_venue`) within reach of every venue's tests."""

"""What a test run says about its containers."""

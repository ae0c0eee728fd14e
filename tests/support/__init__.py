"""What tests of several folders share: places, domains, stages and processes that they start."""

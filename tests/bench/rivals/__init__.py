"""Other servers, set up like ours."""

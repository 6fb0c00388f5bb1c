"""The scenarios a user judges kindloop by, one after the other on a cluster of their own."""

"""May this signal or order be traded, and at which size?"""

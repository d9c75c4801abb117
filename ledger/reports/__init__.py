"""What did the portfolio earn, and on which lots?"""

"""How is a long log replayed without building an object per event?"""

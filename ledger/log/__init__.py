"""How are events stored so that nothing can be changed unnoticed?"""

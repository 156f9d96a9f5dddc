"""The model: the one wing that imports FastLanguageModel; rows of new tokens; what a
safetensors folder holds.
"""

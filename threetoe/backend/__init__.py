"""The model: the one wing that imports FastLanguageModel and adds LoRA; rows of new tokens; what
a safetensors folder holds.
"""

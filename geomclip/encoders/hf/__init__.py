"""Models in the layout of transformers: configuration, names of weights, images, tokenizer, and adapters of PEFT."""

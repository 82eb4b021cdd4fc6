"""Text generation from an artifact: numpy, one engine and `tokenizers`, never PyTorch or transformers.

- `language_model`: what the manifest says of the model's cache, positions and special tokens.
- `in_place_cache`, `concat_cache`: the two forms of the graph, each with its own key-value cache.
- `image_cache`: that of prompts with an image. `image_graphs`: what reads them. `encoded_image`: an image
  seen already.
- `prompt_filter`: which tokens of a long prompt are read, by a graph of the artifact.
- `sampling`: from logits to a token id. `options`: what a caller may ask for.
- `tokenizer`, `detokenizer`, `stop`, `chat`: text to ids and back, as a stream.
- `scoring`: the log-likelihood of given continuations.
- `row`: the state of one prompt. `batch_run`: the rounds of a batch. `session`: `GenerativeSession`.
"""

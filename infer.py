#!/usr/bin/env python
"""Ask a run something; its template, system text and stop strings come with it."""

from threetoe.options.command import command
from threetoe.options.infer import InferConfig


@command(InferConfig)
def main(config):
    """Ask a fine-tuned model. Only the answer goes to standard output.

    \b
    python infer.py "Classify the sentiment of the text." --input "What a lovely day!"
    python infer.py --run runs/my-run "What is the capital of France?"
    python infer.py --chat
    python infer.py --web
    python infer.py --serve
    python infer.py --file questions.csv --output answers.jsonl
    python infer.py --run runs/a --run runs/b --file questions.csv --output answers.csv
    """
    from threetoe.infer import chat, infer, several, web

    if config.serve:
        from threetoe.commands.serve import serve

        serve(config)
    elif config.web:
        web.serve(config)
    elif chat.is_meant(config):
        chat.chat(config)
    else:
        (several if config.runs else infer).infer(config)


if __name__ == "__main__":
    main()

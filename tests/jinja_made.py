"""The ways of published chat templates, in our own words: what they do, not what they are; and the
probes that they take."""

from probes import PROBES

CHATML = """
{%- if messages[0].role != 'system' %}<|im_start|>system
You help.<|im_end|>
{% endif %}
{%- for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
TRIMMING = """
{{- bos_token }}
{%- for m in messages %}
{{- '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' }}
{{- m['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt -%}
{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"""
DATED = """
{%- set day = strftime_now("%d %b %Y") if strftime_now is defined else "26 Jul 2024" %}
{{- bos_token + 'Today: ' + day + '\n' }}""" + TRIMMING.replace("{{- bos_token }}", "")
INST = """
{{- bos_token }}
{%- for m in messages %}
{%- if (m['role'] == 'user') != (loop.index0 % 2 == 0) -%}
{{ raise_exception('roles must alternate') }}{% endif %}
{%- if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}
{%- else %}{{ ' ' + m['content'] + eos_token }}{% endif %}
{%- endfor %}"""
THINKING = CHATML.replace(
    "{{ m.content }}",
    "{% if m.role == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}{{ m.content }}",
)
ALIASED = DATED.replace('strftime_now("%d %b %Y")', "strftime_now(form)").replace(
    "{%- set day", '{%- set form = "%d %b %Y" %}{%- set day'
)
CLOSED = CHATML.replace(
    "<|im_start|>assistant\n{% endif %}",
    "<|im_start|>assistant\n{% else %}{{ eos_token }}{% endif %}",
)
ENDLESS = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}" + (
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
WAYS = {
    "chatml": ("qwen", CHATML),
    "trimming": ("llama3", TRIMMING),
    "dated": ("llama3", DATED),
    "inst": ("llama2", INST),
    "thinking": ("qwen", THINKING),
    "aliased": ("llama3", ALIASED),
    "closed": ("qwen", CLOSED),
    "spaced": (
        "llama2",
        INST.replace("' ' + m['content'] +", "' ' + m['content'].strip() + ' ' +"),
    ),
}
ONE_TURN = {name: m for name, m in PROBES.items() if len(m) == 1}
ALTERNATING = {name: m for name, m in PROBES.items() if m[0]["role"] == "user"}

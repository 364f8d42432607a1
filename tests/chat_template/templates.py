"""Chat templates of our own, in the manner of the main model families, and conversations for them."""

LLAMA = """\
{{- bos_token }}
{%- if custom_tools is defined %}{%- set tools = custom_tools %}{%- endif %}
{%- if not tools_in_user_message is defined %}{%- set tools_in_user_message = true %}{%- endif %}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}{%- set date_string = "01 Jan 2024" %}{%- endif %}
{%- endif %}
{%- if not tools is defined %}{%- set tools = none %}{%- endif %}
{#- The system message, if any, is taken off the list. #}
{%- if messages and messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}{%- set system_message = "" %}{%- endif %}
{{- "<|start|>system<|end|>\\n\\n" }}
{%- if tools is not none %}{{- "Tools can be called\\n" }}{%- endif %}
{{- "Date: " + date_string + "\\n\\n" }}{{- system_message }}{{- "<|eot|>" }}
{%- if tools_in_user_message and not tools is none %}
    {%- if messages | length != 0 %}
        {%- set first_user_message = messages[0]['content']|trim %}
        {%- set messages = messages[1:] %}
    {%- else %}{{- raise_exception("no first user message to hold the tools") }}{%- endif %}
    {{- '<|start|>user<|end|>\\n\\n' -}}
    {%- for t in tools %}{{- t | tojson(indent=4) }}{{- "\\n\\n" }}{%- endfor %}
    {{- first_user_message + "<|eot|>"}}
{%- endif %}
{%- for message in messages %}
    {%- if not (message.role == 'tool' or message.role == 'ipython' or 'tool_calls' in message) %}
        {{- '<|start|>' + message['role'] + '<|end|>\\n\\n'+ message['content'] | trim + '<|eot|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}{{- raise_exception("one call at a time") }}{%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '<|start|>assistant<|end|>\\n\\n{"name": "' + tool_call.name + '", "parameters": ' }}
        {{- tool_call.arguments | tojson }}{{- "}" }}{{- "<|eot|>" }}
    {%- elif message.role == "tool" or message.role == "ipython" %}
        {{- "<|start|>ipython<|end|>\\n\\n" }}
        {%- if message.content is mapping or message.content is iterable %}{{- message.content | tojson }}
        {%- else %}{{- message.content }}{%- endif %}{{- "<|eot|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start|>assistant<|end|>\\n\\n' }}{%- endif %}
"""

QWEN = """\
{%- if tools %}
    {{- '<|im|>system\\n' }}
    {%- if messages[0].role == 'system' %}{{- messages[0].content + '\\n\\n' }}{%- endif %}
    {{- "# Tools\\n\\n<tools>" }}
    {%- for tool in tools %}{{- "\\n" }}{{- tool | tojson }}{%- endfor %}
    {{- "\\n</tools>\\n{\\"name\\": <function-name>}<|end|>\\n" }}
{%- elif messages[0].role == 'system' %}{{- '<|im|>system\\n' + messages[0].content + '<|end|>\\n' }}{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<response>') and message.content.endswith('</response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}{%- set content = message.content %}{%- else %}{%- set content = '' %}{%- endif %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im|>' + message.role + '\\n' + content + '<|end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if message.reasoning_content is string %}{%- set reasoning_content = message.reasoning_content %}
        {%- elif '</think>' in content %}
            {%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index and (loop.last or (not loop.last and reasoning_content)) %}
            {{- '<|im|>' + message.role + '\\n<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}{{- '<|im|>' + message.role + '\\n' + content }}{%- endif %}
        {%- if message.tool_calls %}
            {%- for tool_call in message.tool_calls %}
                {%- if (loop.first and content) or (not loop.first) %}{{- '\\n' }}{%- endif %}
                {%- if tool_call.function %}{%- set tool_call = tool_call.function %}{%- endif %}
                {{- '<call>{"name": "' }}{{- tool_call.name }}{{- '", "arguments": ' }}
                {%- if tool_call.arguments is string %}{{- tool_call.arguments }}
                {%- else %}{{- tool_call.arguments | tojson }}{%- endif %}{{- '}</call>' }}
            {%- endfor %}
        {%- endif %}
        {{- '<|end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}{{- '<|im|>user' }}{%- endif %}
        {{- '\\n<response>\\n' }}{{- content }}{{- '\\n</response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}{{- '<|end|>\\n' }}{%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}
{%- endif %}
"""

MISTRAL = """\
{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}{%- set loop_messages = messages[1:] %}
{%- else %}{%- set loop_messages = messages %}{%- endif %}
{%- if not tools is defined %}{%- set tools = none %}{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}
{%- set ns = namespace() %}{%- set ns.index = 0 %}
{%- for message in loop_messages %}
    {%- if not (message.role == "tool" or (message.tool_calls is defined and message.tool_calls is not none)) %}
        {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}{{- raise_exception("roles must alternate") }}{%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if tools is not none and (message == user_messages[-1]) %}
            {{- "[TOOLS] [" }}
            {%- for tool in tools %}
                {%- set tool = tool.function %}
                {{- '{"type": "function", "function": {' }}
                {%- for key, val in tool.items() if key != "return" %}
                    {%- if val is string %}{{- '"' + key + '": "' + val + '"' }}
                    {%- else %}{{- '"' + key + '": ' + val|tojson }}{%- endif %}
                    {%- if not loop.last %}{{- ", " }}{%- endif %}
                {%- endfor %}{{- "}}" }}
                {%- if not loop.last %}{{- ", " }}{%- else %}{{- "]" }}{%- endif %}
            {%- endfor %}{{- "[/TOOLS]" }}
        {%- endif %}
        {%- if loop.last and system_message is defined %}{{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}{{- "[INST] " + message["content"] + "[/INST]" }}{%- endif %}
    {%- elif message.tool_calls is defined and message.tool_calls is not none %}
        {{- "[CALLS] [" }}
        {%- for tool_call in message.tool_calls %}
            {%- set out = tool_call.function|tojson %}{{- out[:-1] }}
            {%- if not tool_call.id is defined or tool_call.id|length != 9 %}{{- raise_exception("ids have length 9") }}{%- endif %}
            {{- ', "id": "' + tool_call.id + '"}' }}{%- if not loop.last %}{{- ", " }}{%- else %}{{- "]" + eos_token }}{%- endif %}
        {%- endfor %}
    {%- elif message["role"] == "assistant" %}{{- " " + message["content"]|trim + eos_token}}
    {%- elif message["role"] == "tool" %}
        {%- if message.content is defined and message.content.content is defined %}{%- set content = message.content.content %}
        {%- else %}{%- set content = message.content %}{%- endif %}
        {{- '[RESULTS] {"content": ' + content|string + ', "id": "' + message.tool_call_id|default("none") + '"}[/RESULTS]' }}
    {%- else %}{{- raise_exception("unknown role " ~ message.role) }}{%- endif %}
{%- endfor %}
"""

GEMMA = """\
{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% if messages[0]['content'] is string %}{% set first_user_prefix = messages[0]['content'] + '\\n\\n' %}{% else %}{% set first_user_prefix = messages[0]['content'][0]['text'] + '\\n\\n' %}{% endif %}{% set loop_messages = messages[1:] %}{% else %}{% set first_user_prefix = "" %}{% set loop_messages = messages %}{% endif %}
{% for message in loop_messages %}
    {% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{ raise_exception("roles alternate user/assistant") }}
    {% endif %}
    {% if (message['role'] == 'assistant') %}{% set role = "model" %}{% else %}{% set role = message['role'] %}{% endif %}
    {{ '<turn>' + role + '\\n' + (first_user_prefix if loop.first else "") }}
    {% if message['content'] is string %}
        {{ message['content'] | trim }}
    {% elif message['content'] is iterable %}
        {% for item in message['content'] %}
            {% if item['type'] == 'image' %}<image>{% elif item['type'] == 'text' %}{{ item['text'] | trim }}{% endif %}
        {% endfor %}
    {% else %}
        {{ raise_exception("Invalid content type") }}
    {% endif %}
    {{ '<end>\\n' }}
{% endfor %}
{% if add_generation_prompt %}{{'<turn>model\\n'}}{% endif %}
"""

PHI = """\
{% for message in messages %}{% if message['role'] == 'system' and 'tools' in message and message['tools'] is not none %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|tool|>' + message['tools'] + '<|/tool|>' + '<|end|>' }}{% else %}{{ '<|' + message['role'] + '|>' + (message['content'] or '')|string + '<|end|>' }}{% endif %}{% endfor %}
{%- if add_generation_prompt -%}{{ '<|assistant|>' }}{%- else -%}{{ eos_token }}{%- endif -%}
"""

DEEPSEEK = """\
{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{% set ns = namespace(is_first=false, is_tool=false, is_output_first=true, system_prompt='') %}{%- for message in messages %}{%- if message['role'] == 'system' %}{% set ns.system_prompt = message['content'] %}{%- endif %}{%- endfor %}{{bos_token}}{{ns.system_prompt}}{%- for message in messages %}{%- if message['role'] == 'user' %}{%- set ns.is_tool = false -%}{{'<｜User｜>' + message['content']}}{%- endif %}{%- if message['role'] == 'assistant' and 'tool_calls' in message %}{%- set ns.is_tool = false -%}{%- for tool in message['tool_calls'] %}{%- if not ns.is_first %}{{'<｜Assistant｜><calls>' + tool['type'] + '<sep>' + tool['function']['name'] + '\\n' + '```json' + '\\n' + tool['function']['arguments']|tojson + '\\n' + '```'}}{%- set ns.is_first = true -%}{%- else %}{{'\\n' + tool['type'] + tool['function']['name']}}{%- endif %}{%- endfor %}{%- endif %}{%- if message['role'] == 'assistant' and message['content'] is not none %}{%- if ns.is_tool %}{{'<outputs/>' + message['content'] + '<eos>'}}{%- set ns.is_tool = false -%}{%- else %}{% set content = message['content'] %}{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}{{'<｜Assistant｜>' + content + '<eos>'}}{%- endif %}{%- endif %}{%- if message['role'] == 'tool' %}{%- set ns.is_tool = true -%}{%- if ns.is_output_first %}{{'<outputs>' + message['content']}}{%- set ns.is_output_first = false %}{%- else %}{{'\\n<output>' + message['content']}}{%- endif %}{%- endif %}{%- endfor -%}{% if add_generation_prompt and not ns.is_tool %}{{'<｜Assistant｜><think>\\n'}}{% endif %}
"""

COMMAND = """\
{%- macro json_to_python_type(json_spec) %}
{%- set basic = {"string": "str", "number": "float", "integer": "int", "boolean": "bool"} %}
{%- if basic[json_spec.type] is defined %}{{- basic[json_spec.type] }}
{%- elif json_spec.type == "array" %}{{- "List[" + json_to_python_type(json_spec["items"]) + "]" }}
{%- elif json_spec.type == "object" %}
{%- if json_spec.additionalProperties is defined %}{{- "Dict[str, " + json_to_python_type(json_spec.additionalProperties) + ']' }}{%- else %}{{- "Dict" }}{%- endif %}
{%- elif json_spec.type is iterable %}{{- "Union[" }}{%- for t in json_spec.type %}{{- json_to_python_type({"type": t}) }}{%- if not loop.last %}{{- "," }}{%- endif %}{%- endfor %}{{- "]" }}
{%- else %}{{- "Any" }}{%- endif %}
{%- endmacro %}
{%- macro signature(tool, sep=', ') %}
{{- tool.name + '(' }}
{%- for name, fields in (tool.parameters.properties | default({}, true)).items() %}
{%- if not loop.first %}{{- sep }}{%- endif %}{{- name + ': ' }}{%- if not name in tool.parameters.required|default([]) %}{{- 'Optional[' + json_to_python_type(fields) + '] = None' }}{%- else %}{{- json_to_python_type(fields) }}{%- endif %}
{%- endfor %}{{- ')' }}
{%- endmacro %}
{{- bos_token }}{%- for tool in tools or [] %}{{ loop.index ~ '. ' }}{{ signature(tool.function) | indent(2) }}{{ signature(tool=tool.function, sep='; ') }}
{%- call(x, y='!') quote('"') %}{{ x }}{{ tool.function.description | upper }}{{ y }}{% endcall %}
{% endfor %}
{%- macro quote(mark) %}{{ mark }}{{ caller(mark * 2) }}{{ mark }}{% endmacro %}
{%- for message in messages if message.content and message.role in ('user', 'assistant') %}
{%- if loop.changed(message.role) %}<{{ loop.cycle('a', 'b') }}>{% endif %}{{ message.role|capitalize }}: {{ message.content | string | replace('\\n', ' ') }}{{ loop.nextitem.role if loop.nextitem is defined }}
{% else %}nothing
{% endfor %}
"""
COMMAND = COMMAND.replace("{{- bos_token }}{%- for tool", "{%- macro quote(mark) %}{{ mark }}{{ caller(mark * 2) }}{{ mark }}{% endmacro %}\n{{- bos_token }}{%- for tool", 1)

GRANITE = """\
{%- if messages and messages[0]['role'] == 'system' %}{%- set system_message = messages[0]['content'] %}{%- set loop_messages = messages[1:] %}
{%- else %}{%- set system_message = "Today is " + strftime_now('%B %d, %Y') + ".\\n" %}
 {%- if tools and documents %}{%- set system_message = system_message + " tools and documents" %}
 {%- elif tools %}{%- set system_message = system_message + " tools" %}{%- endif %}
 {%- if 'citations' in controls|default({}) and controls.citations %}{% set system_message = system_message + '\\ncite' %}{%- endif %}
 {%- set loop_messages = messages %}
{%- endif %}
{{- '<|r|>system<|/r|>' + system_message + '<|eot|>\\n' }}
{%- if tools %}{{- '<|r|>tools<|/r|>' }}{{- tools | tojson(indent=4) }}{{- '<|eot|>\\n' }}{%- endif %}
{%- if documents %}{{- '<|r|>documents<|/r|>' }}{%- for document in documents %}{{- 'Document ' + loop.index0 | string + '\\n' }}{{- document['text'] }}{%- if not loop.last %}{{- '\\n\\n'}}{%- endif%}{%- endfor %}{%- endif %}
{%- for message in loop_messages %}
    {{- '<|r|>' + message['role'] + '<|/r|>' + (message['content'] | string) + '<|eot|>\\n' }}
    {%- if loop.last and add_generation_prompt %}{{- '<|r|>assistant' }}{%- if controls %}{{- ' ' + controls | tojson()}}{%- endif %}{{- '<|/r|>' }}{%- endif %}
{%- endfor %}
"""

CHATML = """\
{% for message in messages %}
    {% if loop.first and message.role != 'system' %}
<|im|>system
You help.<|end|>
    {% endif %}
    {% if message.role == 'tool' %}{% continue %}{% endif %}
    {% if message.content is none %}{% break %}{% endif %}
<|im|>{{ message.role }}
    {% generation %}
{{ message.content }}<|end|>
    {% endgeneration %}
{% endfor %}
{% set tail %}{% if add_generation_prompt %}<|im|>assistant
{% endif %}{% endset %}
{{ tail }}{% filter upper | trim %}  done {{ messages | map(attribute='role') | join(', ') }} {% endfilter %}
"""

FAMILIES = {name: value for name, value in globals().items() if name.isupper() and isinstance(value, str)}

TOOLS = [
    {"type": "function", "function": {
        "name": "get_weather", "description": "The weather of a <place> & time",
        "parameters": {"type": "object", "properties": {
            "city": {"type": "string", "description": "Où ça ?"}, "days": {"type": "array", "items": {"type": "integer"}},
            "unit": {"type": ["string", "number"]}, "more": {"type": "object", "additionalProperties": {"type": "boolean"}}},
            "required": ["city"]},
        "return": {"type": "string"}}},
    {"type": "function", "function": {"name": "stop", "description": "Stops", "parameters": {"type": "object"}}},
]
CALL = {"id": "call00001", "type": "function", "function": {"name": "get_weather", "arguments": {"city": "Zürich", "days": [1, 2.0]}}}
USER = {"role": "user", "content": " What is 1 + 1?\n"}
ANSWER = {"role": "assistant", "content": "<think>\nHm.\n</think>\n\nIt is 2. "}
CONVERSATIONS = [
    [USER],
    [{"role": "system", "content": "Be \"brief\"."}, USER, ANSWER, {"role": "user", "content": "日本語 🙂"}],
    [USER, {"role": "assistant", "content": None, "tool_calls": [CALL]},
     {"role": "tool", "content": "12 °C", "tool_call_id": "call00001"}, {"role": "tool", "content": "{}"}, ANSWER],
    [USER, {"role": "assistant", "content": "", "tool_calls": [CALL, CALL]}, {"role": "tool", "content": {"content": 3}}],
    [{"role": "system", "content": [{"type": "text", "text": "S"}]},
     {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": " hi "}]}],
    [ANSWER, USER, USER],
    [{"role": "user"}, {"role": "narrator", "content": "x"}],
    [],
]
VARIANTS = [
    {},
    {"add_generation_prompt": True},
    {"add_generation_prompt": True, "enable_thinking": False, "tools": TOOLS},
    {"tools": TOOLS[1:], "documents": [{"text": "d1"}, {"text": "d2"}], "controls": {"citations": True, "length": "long"}},
    {"tools": None, "tools_in_user_message": False, "date_string": "26 Jul 2024"},
]


def cases():
    """(name, template, context) of every family with every conversation."""
    for name, template in FAMILIES.items():
        for i, messages in enumerate(CONVERSATIONS):
            for j, variant in enumerate(VARIANTS):
                yield f"{name} {i} {j}", template, {"bos_token": "<s>", "eos_token": "</s>", "messages": messages, **variant}

#!/usr/bin/env bash
# From a fresh clone to an answer: installs SAGE into .venv, brings the mesh up and asks it about SAGE's own documents.
# Running it again takes seconds. PYTHON names the interpreter to use (default python3; 3.10 or later).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

./install.sh
sage=.venv/bin/sage

if ! "$sage" up --detach; then
  printf '\nThe mesh did not come up. What `%s doctor` finds:\n\n' "$sage" >&2
  "$sage" doctor >&2 || true
  exit 1
fi

question="What happens when a scheduler dies?"
printf '\n$ sage ask "%s" --docs .\n\n' "$question"
"$sage" ask "$question" --docs .

cat <<EOF

The mesh is running. Try next (\`source .venv/bin/activate\` shortens .venv/bin/sage to sage):

  $sage ask "How are embeddings batched?" --docs .      any folder of md, txt, html and pdf documents
  $sage status                                          what runs where
  $sage logs gateway -f                                 what a service says
  $sage up --llm http://localhost:8001/v1               after \`sage down\`: a language model of your own
  $sage down                                            stop everything

  curl http://localhost:8888/v1/embeddings -H 'Content-Type: application/json' -d '{"model": "minilm", "input": "hi"}'
EOF

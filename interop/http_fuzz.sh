#!/usr/bin/env bash
# Makes up requests from a node's own description of its API and checks every answer against it: no server errors, status, media type and shape as
# described, errors for what is wrong and none for what is right.
#
#   interop/http_fuzz.sh http://127.0.0.1:7180
#
# TIBET_SCHEMATHESIS     the program [default: schemathesis]
# TIBET_OPERATOR_TOKEN   the node's operator token; without it, changes are only tried in vain
# TIBET_HTTP_EXAMPLES    requests made up for each route and phase [default: 50]
# TIBET_HTTP_SEED        makes a run repeatable [default: 7180]
set -euo pipefail
base=${1:?usage: http_fuzz.sh BASE_URL}
options=()
if [ -n "${TIBET_OPERATOR_TOKEN:-}" ]; then
    options+=(--header "Authorization: Bearer $TIBET_OPERATOR_TOKEN")
fi
here=$(cd "$(dirname "$0")" && pwd)
export SCHEMATHESIS_HOOKS=http_fuzz_hooks PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}" PYTHONDONTWRITEBYTECODE=1
exec "${TIBET_SCHEMATHESIS:-schemathesis}" --config-file "$here/schemathesis.toml" run "$base/openapi.json" --url "$base" \
    --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,response_headers_conformance,negative_data_rejection,positive_data_acceptance,unsupported_method \
    --max-examples "${TIBET_HTTP_EXAMPLES:-50}" --seed "${TIBET_HTTP_SEED:-7180}" --generation-database none \
    --request-timeout 20 --no-color "${options[@]}"

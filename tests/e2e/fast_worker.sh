#!/bin/sh
# The script of fast_worker.py: as `transcription-worker` a step of a job, as `answer` the far end of one connection.

answer() {
    read -r _ path _
    while read -r line && [ "${line%?}" ]; do :; done # the rest of the request's head
    case $path in
        /readyz) body=ready ;;
        /progress/job) body='{"total_bytes": 1200, "finished_shards": [[0, 2]],
            "done": 4, "failed": 1, "audio_seconds": 40, "bytes": 480,
            "failures": [{"key": "bad.wav", "reason": "Truncated", "message": "It ends early."}]}' ;;
        *) body='{"shards": {"2": {"done": 1}, "3": {"done": 1, "audio_seconds": 10, "bytes": 120}},
            "speed": 5, "model_digest": "sha256:fast"}' ;;
    esac
    printf 'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %s\r\n\r\n%s' ${#body} "$body"
}

serve() {
    nc -ll -p 8080 -e /fast/answer &
}

hold() {
    until [ -e /scratch/go ]; do sleep 0.1; done
}

fail() {
    printf '%s' "$2" > /dev/termination-log
    exit "$1"
}

[ "${0##*/}" = answer ] && { answer; exit; }
trap 'exit 143' TERM
said=
case $1 in
    plan)
        eval "$FAST_PLAN"
        : "${said:=$(cat /fast/plan.json)}"
        ;;
    work)
        eval "$FAST_WORK"
        ;;
    report)
        eval "$FAST_REPORT"
        : "${said:=$(cat /fast/report.json)}"
        ;;
    sweep | drain) ;;
    *) fail 2 "There is no step $1." ;;
esac
printf '%s' "$said" > /dev/termination-log

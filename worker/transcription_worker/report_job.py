"""`transcription-worker report`: read plan and ledgers, write the report. Filled in with the report package."""

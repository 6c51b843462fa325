"""A local server of the same API that makes real videos: for try-outs, rehearsals and tests.

    server.py      binds, says where, serves, stops        process.py   starts it as a child of a run
    app.py         the routes; gate.py stands before them: keys, the rate, what is counted
    generations.py accounting.py  cdn.py  control.py       what the routes answer
    contract.py    the words of the API                    intake.py    a request's body becomes an order
    records.py     what was accepted, in SQLite            faults.py    what goes wrong, and when
    studio.py      a bounded number of worker.py processes, which render.py videos
    voice.py       speakers and speech; espeak.py is the engine, alone in its process; language.py guesses

It knows nothing of the rest of the program but `capabilities`, and needs `pip install 'lipsync-batch[sandbox]'`.
"""

PRICE = 240_000
"""What a generation costs here unless an option says otherwise, in micro-USD."""

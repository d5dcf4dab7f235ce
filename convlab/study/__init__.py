"What a study needs: digits, quick training, a record of what layers put out, runs over settings and seeds."

"The reader's exercises, guesses and questions, and what they have done."

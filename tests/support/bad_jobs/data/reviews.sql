select id, text, stars from reviews

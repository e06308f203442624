// SPDX-License-Identifier: GPL-2.0-only
static int twin(int value)
{
	return value + 1;
}

int text_length(const char *text)
{
	int length = 0;

	while (text[length])
		length = twin(length);
	return length;
}

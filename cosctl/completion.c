/* cosctl/completion.c - completion scripts, made from the tables */
#include <stdio.h>
#include <string.h>

#include "cosctl/cosctl.h"

static void print_commands(void)
{
	for (unsigned i = 0; i < n_commands; i++)
		printf("%s ", commands[i].name);
}

static void print_options(const struct command *c)
{
	for (unsigned i = 0; i < n_option_defs; i++) {
		if (strchr(c->options, option_defs[i].letter))
			printf("--%s ", option_defs[i].name);
	}
	printf("--help");
}

static void print_bash(void)
{
	printf("_cosctl() {\n"
	       "  local cur=${COMP_WORDS[COMP_CWORD]} cmd=${COMP_WORDS[1]} opts=\n"
	       "  if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
	       "    COMPREPLY=($(compgen -W \"");
	print_commands();
	printf("\" -- \"$cur\")); return\n  fi\n  case $cmd in\n");
	for (unsigned i = 0; i < n_commands; i++) {
		printf("  %s) opts=\"", commands[i].name);
		print_options(&commands[i]);
		printf("\" ;;\n");
	}
	printf("  esac\n"
	       "  case $cur in\n"
	       "  -*) COMPREPLY=($(compgen -W \"$opts\" -- \"$cur\")) ;;\n"
	       "  *) COMPREPLY=($(compgen -W \"$(cosctl list -o name 2>/dev/null)\" -- \"$cur\")) ;;\n"
	       "  esac\n"
	       "}\n"
	       "complete -F _cosctl cosctl\n");
}

int cmd_completion(struct args *a)
{
	if (a->argc == 1 && strcmp(a->argv[0], "bash") == 0) {
		print_bash();
		return 0;
	}
	if (a->argc == 1 && strcmp(a->argv[0], "zsh") == 0) {
		puts("#compdef cosctl\nautoload -U +X bashcompinit && bashcompinit");
		print_bash();
		return 0;
	}
	return say_usage(a, "bash or zsh is needed");
}
